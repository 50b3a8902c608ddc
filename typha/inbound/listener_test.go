package inbound

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener hands out connections whose other ends say that they are from any address.
type fakeListener struct {
	conns chan net.Conn
}

type fakeConn struct {
	net.Conn
	from net.Addr
}

func (c fakeConn) RemoteAddr() net.Addr { return c.from }

func (l *fakeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *fakeListener) Close() error   { close(l.conns); return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// door is a limited listener and what it did.
type door struct {
	fake     *fakeListener
	accepted chan *Conn
	refused  atomic.Int32
}

func open(t *testing.T, limits Limits) *door {
	t.Helper()
	d := &door{fake: &fakeListener{conns: make(chan net.Conn)}, accepted: make(chan *Conn, 100)}
	l := Limit(d.fake, limits, func() { d.refused.Add(1) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.accepted <- c.(*Conn)
		}
	}()
	t.Cleanup(func() {
		d.fake.Close()
		<-ended
	})
	return d
}

// knock connects from an address, and returns the far end, and the near one if it was let in.
func (d *door) knock(from string) (far net.Conn, near *Conn) {
	far, inside := net.Pipe()
	var address net.Addr = &net.UnixAddr{}
	if from != "" {
		address = &net.TCPAddr{IP: net.ParseIP(from), Port: 1}
	}
	d.fake.conns <- fakeConn{inside, address}
	synctest.Wait()
	select {
	case near = <-d.accepted:
	default:
	}
	return far, near
}

// closed reports whether the other side has closed a connection.
func closed(far net.Conn) bool {
	_ = far.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := far.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func TestOneAddressHasSoManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, Limits{All: 10, PerAddress: 2})
		_, first := d.knock("192.0.2.1")
		d.knock("::ffff:192.0.2.1") // the same
		if far, near := d.knock("192.0.2.1"); near != nil || !closed(far) {
			t.Error("a third connection of the address is let in")
		}
		if _, near := d.knock("192.0.2.2"); near == nil {
			t.Error("another address is not let in")
		}
		first.Close()
		if _, near := d.knock("192.0.2.1"); near == nil {
			t.Error("a connection that closed still counts")
		}
		if d.refused.Load() != 1 {
			t.Errorf("%d were refused", d.refused.Load())
		}
	})
}

// TestWhoHasMostMakesRoom: an address with many connections keeps nobody out; many addresses with one each keep the
// next out.
func TestWhoHasMostMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, Limits{All: 4, PerAddress: 4})
		var greedy []net.Conn
		for range 4 {
			far, _ := d.knock("192.0.2.1")
			greedy = append(greedy, far)
		}
		for n, other := range []string{"192.0.2.2", "192.0.2.3"} {
			if _, near := d.knock(other); near == nil || !closed(greedy[3-n]) {
				t.Errorf("%s does not get the place of the newest of the address that has most", other)
			}
		}
		if closed(greedy[0]) || closed(greedy[1]) {
			t.Error("older connections have to go")
		}
		d.knock("192.0.2.4")
		if far, near := d.knock("192.0.2.5"); near != nil || !closed(far) {
			t.Error("there is room for more than there is")
		}
	})
}

func TestStrangersHaveToHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, Limits{All: 2, PerAddress: 2, Patience: time.Second})
		idle, _ := d.knock("192.0.2.1")
		known, near := d.knock("192.0.2.1")
		near.Admit()
		near.Admit()
		time.Sleep(time.Minute)
		if !closed(idle) || closed(known) {
			t.Errorf("closed are: the stranger %t, the one who is known %t", closed(idle), closed(known))
		}
		near.Dismiss()
		time.Sleep(time.Minute)
		if closed(known) {
			t.Error("one of two reasons to stay was lost")
		}
		near.Dismiss()
		time.Sleep(time.Minute)
		if !closed(known) {
			t.Error("nothing is left to stay for")
		}
	})
}

// TestDismissAfterCloseLeavesRoom: a server may close a connection before the last handler of it returns.
func TestDismissAfterCloseLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, Limits{All: 1, PerAddress: 1, Patience: time.Minute})
		_, gone := d.knock("192.0.2.1")
		gone.Admit()
		gone.Close()
		gone.Dismiss()
		if _, near := d.knock("192.0.2.1"); near == nil {
			t.Error("a closed connection takes the place of its address")
		}
		if _, near := d.knock("192.0.2.2"); near != nil {
			t.Error("the connection that took the place does not count")
		}
		if n := d.refused.Load(); n != 1 {
			t.Errorf("%d were refused, want 1", n)
		}
	})
}

func TestUnixSocketsHaveNoAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, Limits{All: 3, PerAddress: 1})
		for range 3 {
			if _, near := d.knock(""); near == nil {
				t.Error("a connection without an address is counted by it")
			}
		}
		if far, near := d.knock(""); near != nil || !closed(far) {
			t.Error("there is no bound in all")
		}
	})
}
