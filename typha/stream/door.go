package stream

import (
	"context"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// door limits the streams whose hellos are read at a time: a few in all, and one per node, because a hello names all
// objects that a node holds. The other streams wait at their node's place in the queue; their data stays with the
// senders. A node that connects again and again waits longer, because each time a snapshot is made for it.
type door struct {
	room chan struct{} // as many as may be in

	mu     sync.Mutex
	nodes  map[string]*visitors
	pruned time.Time
}

// visitors are the streams of one node that wait, are let in, or were let in lately.
type visitors struct {
	turn   chan struct{} // has one element while one of the streams waits for room or is let in
	count  int
	hellos *rate.Limiter
}

// maxGreeted is how many hellos are in memory at once.
const maxGreeted = 16

// The limit for the hellos of one node: a burst, and then one per helloInterval.
const (
	helloBurst    = 20
	helloInterval = 500 * time.Millisecond
)

// rested reports whether the record of a node is no longer needed.
func (v *visitors) rested() bool { return v.count == 0 && v.hellos.Tokens() >= helloBurst }

func newDoor() *door {
	return &door{room: make(chan struct{}, maxGreeted), nodes: map[string]*visitors{}}
}

// enter waits until a stream's hello may be read. Call leave, once or more, when nothing is kept of the hello.
func (d *door) enter(ctx context.Context, node string) (leave func(), err error) {
	v := d.come(node)
	if v == nil {
		return nil, status.Errorf(codes.ResourceExhausted, "%d other streams of the node wait already", maxSessions)
	}
	select {
	case v.turn <- struct{}{}:
	case <-ctx.Done():
		d.gone(node, v)
		return nil, ctx.Err()
	}
	if err := v.hellos.Wait(ctx); err != nil {
		<-v.turn
		d.gone(node, v)
		return nil, err
	}
	select {
	case d.room <- struct{}{}:
	case <-ctx.Done():
		<-v.turn
		d.gone(node, v)
		return nil, ctx.Err()
	}
	return sync.OnceFunc(func() {
		<-d.room
		<-v.turn
		d.gone(node, v)
	}), nil
}

// come takes a stream of a node in, or gives nil if too many of it wait.
func (d *door) come(node string) *visitors {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.pruned) > time.Minute {
		d.pruned = now
		maps.DeleteFunc(d.nodes, func(_ string, v *visitors) bool { return v.rested() })
	}
	v := d.nodes[node]
	if v == nil {
		v = &visitors{turn: make(chan struct{}, 1), hellos: rate.NewLimiter(rate.Every(helloInterval), helloBurst)}
		d.nodes[node] = v
	}
	if v.count == maxSessions {
		return nil
	}
	v.count++
	return v
}

func (d *door) gone(node string, v *visitors) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.count--; v.rested() {
		delete(d.nodes, node)
	}
}
