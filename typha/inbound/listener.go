// Package inbound bounds what those who connect to a server can make it hold: connections, in all and of one address;
// the time that each may take; the sizes of what it sends.
//
// It knows no protocol but HTTP, and decides for nobody who he is: a server says so by Conn.Admit. It is called by
// the programs that listen, on the goroutines of their servers, and starts none of its own.
package inbound

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bound the connections of strangers: those that the server has not admitted.
type Limits struct {
	// All is how many strangers there may be, PerAddress how many with one address. Where they have none, as on a Unix
	// socket, All alone holds.
	All, PerAddress int
	// Patience is how long a connection may last without being admitted; 0 is as long as the server lets it.
	Patience time.Duration
}

// Listener is a listener whose connections are bounded. When there are too many, the address that has most of them
// loses its newest: whoever has few gets in, however many another has.
type Listener struct {
	net.Listener
	limits  Limits
	refused func()

	mu        sync.Mutex
	strangers map[netip.Addr][]*Conn // in the order in which they came
	count     int
}

// Limit returns a listener with bounds. It calls refused, if that is not nil, for each connection that it closes
// because of them.
func Limit(listener net.Listener, limits Limits, refused func()) *Listener {
	if refused == nil {
		refused = func() {}
	}
	return &Listener{Listener: listener, limits: limits, refused: refused, strangers: map[netip.Addr][]*Conn{}}
}

// Accept waits for a connection within the bounds, which is a *Conn.
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

// addressOf returns the zero Addr for what is not an address of the Internet.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// enter counts a stranger, and reports whether there is room for it. It may turn another one away for it.
func (l *Listener) enter(c *Conn) bool {
	l.mu.Lock()
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

// room reports whether one more stranger may come. It takes another one out where that has to go first.
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

// remove takes a stranger out. The caller holds mu.
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
	if l.strangers[c.from] = conns; len(conns) == 0 {
		delete(l.strangers, c.from)
	}
}

// Conn is a connection that counts as a stranger's until it is admitted. Any goroutine may call its methods.
type Conn struct {
	net.Conn
	listener *Listener
	from     netip.Addr

	// Guarded by the listener's mu.
	stranger bool
	users    int // of Admit
	timer    *time.Timer
}

// Admit says that the other side has proved who it is, until as many calls of Dismiss have followed.
func (c *Conn) Admit() {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.users++; c.users == 1 {
		l.remove(c)
	}
}

// Dismiss takes one Admit back. Without any the connection is a stranger's again, and is closed if there are too many.
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

// Close closes the connection, which then counts no longer.
func (c *Conn) Close() error {
	c.listener.mu.Lock()
	c.listener.remove(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

func (c *Conn) turnAway() {
	c.listener.refused()
	_ = c.Close() // nobody is told
}

// outstay ends a stranger whose time is up.
func (c *Conn) outstay() {
	c.listener.mu.Lock()
	still := c.stranger
	c.listener.mu.Unlock()
	if still {
		c.turnAway()
	}
}
