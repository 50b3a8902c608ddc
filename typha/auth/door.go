package auth

import (
	"context"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Door limits the streams whose hellos are read at a time: maxGreeted in all, and one of a node. A hello names all
// objects that a node holds, so it can be large. The other streams wait, and their hellos stay with the senders. A node
// that connects again and again waits longer, because each stream costs a snapshot.
type Door struct {
	perNode int
	room    chan struct{} // depth maxGreeted; a stream writes an element when it enters, and reads one when it leaves

	mu     sync.Mutex
	nodes  map[string]*visitors
	pruned time.Time
}

// visitors are the streams of one node that wait at the door, or have entered.
type visitors struct {
	turn   chan struct{} // depth 1; holds an element while one of the streams waits for room or has entered
	count  int
	hellos *rate.Limiter
}

// maxGreeted is how many hellos are in memory at a time.
const maxGreeted = 16

// The limit for the hellos of one node: a burst, and then one per helloInterval.
const (
	helloBurst    = 20
	helloInterval = 500 * time.Millisecond
)

// idle reports whether the door can forget the node.
func (v *visitors) idle() bool { return v.count == 0 && v.hellos.Tokens() >= helloBurst }

// NewDoor returns a door at which so many streams of one node may wait.
func NewDoor(perNode int) *Door {
	return &Door{perNode: perNode, room: make(chan struct{}, maxGreeted), nodes: map[string]*visitors{}}
}

// Inside returns the number of streams that have entered and not left.
func (d *Door) Inside() int { return len(d.room) }

// Enter waits until the hello of a node's stream may be read. Call leave when the hello is not needed any more; later
// calls have no effect. Enter fails when ctx ends, or when too many streams of the node wait already.
func (d *Door) Enter(ctx context.Context, node string) (leave func(), err error) {
	v := d.arrive(node)
	if v == nil {
		return nil, status.Errorf(codes.ResourceExhausted, "%d other streams of the node wait already", d.perNode)
	}
	select {
	case v.turn <- struct{}{}:
	case <-ctx.Done():
		d.depart(node, v)
		return nil, ctx.Err()
	}
	if err := v.hellos.Wait(ctx); err != nil {
		<-v.turn
		d.depart(node, v)
		return nil, err
	}
	select {
	case d.room <- struct{}{}:
	case <-ctx.Done():
		<-v.turn
		d.depart(node, v)
		return nil, ctx.Err()
	}
	return sync.OnceFunc(func() {
		<-d.room
		<-v.turn
		d.depart(node, v)
	}), nil
}

// arrive adds a stream to those of its node. It returns nil if too many streams of the node wait.
func (d *Door) arrive(node string) *visitors {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.pruned) > time.Minute {
		d.pruned = now
		maps.DeleteFunc(d.nodes, func(_ string, v *visitors) bool { return v.idle() })
	}
	v := d.nodes[node]
	if v == nil {
		v = &visitors{turn: make(chan struct{}, 1), hellos: rate.NewLimiter(rate.Every(helloInterval), helloBurst)}
		d.nodes[node] = v
	}
	if v.count == d.perNode {
		return nil
	}
	v.count++
	return v
}

// depart removes a stream from those of its node.
func (d *Door) depart(node string, v *visitors) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.count--
	if v.idle() {
		delete(d.nodes, node)
	}
}
