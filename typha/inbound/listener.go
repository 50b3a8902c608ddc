// Package inbound limits the resources that clients of a server can occupy: the connections of all clients and of one
// address, the duration of each, and the size of requests.
//
// It knows no protocol but HTTP, and authenticates nobody: the server calls Conn.Admit for a client that it has
// authenticated. Programs that listen call the package on the goroutines of their servers. It starts no goroutine that
// lives on.
package inbound

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits apply to the connections of strangers: clients that the server has not admitted.
type Limits struct {
	// All is the limit for all strangers, PerAddress for those of one address. Only All applies to strangers without an
	// address, as on a Unix socket.
	All, PerAddress int
	// Patience is how long a connection may last without being admitted. 0 means no limit.
	Patience time.Duration
}

// Listener is a listener with a limited number of connections. When there are too many, the address with the most
// connections loses its newest one. A client with few connections is therefore accepted, however many another has.
type Listener struct {
	net.Listener
	limits  Limits
	refused func()

	mu        sync.Mutex
	strangers map[netip.Addr][]*Conn // oldest first
	count     int
}

// Limit returns a listener with limits. It calls refused, if that is not nil, for each connection that it closes
// because of them.
func Limit(listener net.Listener, limits Limits, refused func()) *Listener {
	if refused == nil {
		refused = func() {}
	}
	return &Listener{Listener: listener, limits: limits, refused: refused, strangers: map[netip.Addr][]*Conn{}}
}

// Accept waits for a connection within the limits. The connection is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &Conn{Conn: accepted, listener: l, from: addressOf(accepted.RemoteAddr())}
		if l.enter(c) {
			return c, nil
		}
		c.turnAway()
	}
}

// addressOf returns the IP address of a TCP address, and the zero Addr for any other address.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// enter adds a stranger, and reports whether there is room for it. It may close the connection of another one to make
// room. A closed connection needs no room.
func (l *Listener) enter(c *Conn) bool {
	l.mu.Lock()
	if c.closed {
		l.mu.Unlock()
		return true
	}
	victim, ok := l.room(c)
	if ok {
		l.strangers[c.from] = append(l.strangers[c.from], c)
		l.count++
		c.stranger = true
		if l.limits.Patience > 0 {
			c.timer = time.AfterFunc(l.limits.Patience, c.outstay)
		}
	}
	l.mu.Unlock()
	if victim != nil {
		victim.turnAway()
	}
	return ok
}

// room reports whether there is room for one more stranger. If another one has to leave for it, room removes that one
// and returns it.
func (l *Listener) room(c *Conn) (victim *Conn, ok bool) {
	mine := len(l.strangers[c.from])
	if c.from.IsValid() && mine >= l.limits.PerAddress {
		return nil, false
	}
	if l.count < l.limits.All {
		return nil, true
	}
	most, of := mine, c.from
	for from, conns := range l.strangers {
		if len(conns) > most {
			most, of = len(conns), from
		}
	}
	if most <= mine+1 {
		return nil, false // nobody has more than the newcomer would have
	}
	victim = l.strangers[of][most-1]
	l.remove(victim)
	return victim, true
}

// remove removes a stranger. The caller holds mu.
func (l *Listener) remove(c *Conn) {
	if !c.stranger {
		return
	}
	c.stranger = false
	if c.timer != nil {
		c.timer.Stop()
	}
	l.count--
	conns := l.strangers[c.from]
	for i, other := range conns {
		if other == c {
			conns = append(conns[:i], conns[i+1:]...)
			break
		}
	}
	l.strangers[c.from] = conns
	if len(conns) == 0 {
		delete(l.strangers, c.from)
	}
}

// Conn is a connection that counts as a stranger until it is admitted. Any goroutine may call its methods.
type Conn struct {
	net.Conn
	listener *Listener
	from     netip.Addr

	// Guarded by the listener's mu.
	stranger bool
	closed   bool
	users    int // calls of Admit less those of Dismiss
	timer    *time.Timer
}

// Admit marks the client as authenticated, until as many calls of Dismiss have followed.
func (c *Conn) Admit() {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	c.users++
	if c.users == 1 {
		l.remove(c)
	}
}

// Dismiss reverses one Admit. After the last one the connection counts as a stranger again, and is closed if there are
// too many strangers. A connection that is closed already does not count: a server may close it before its handlers
// return.
func (c *Conn) Dismiss() {
	l := c.listener
	l.mu.Lock()
	c.users--
	last := c.users == 0
	l.mu.Unlock()
	if last && !l.enter(c) {
		c.turnAway()
	}
}

// Close closes the connection. It no longer counts.
func (c *Conn) Close() error {
	c.listener.mu.Lock()
	c.closed = true
	c.listener.remove(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

func (c *Conn) turnAway() {
	c.listener.refused()
	_ = c.Close() // nobody needs the error
}

// outstay closes the connection if it still counts as a stranger when its time is up.
func (c *Conn) outstay() {
	c.listener.mu.Lock()
	still := c.stranger
	c.listener.mu.Unlock()
	if still {
		c.turnAway()
	}
}
