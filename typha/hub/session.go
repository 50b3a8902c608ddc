package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// Hello is what a node says when it opens a session.
type Hello struct {
	Node string `cbor:"1,keyasint"`
	// Features name what the node understands beyond the protocol's version.
	Features []string `cbor:"3,keyasint,omitempty"`
	// Held are the objects that the node has, with the hashes of their encodings.
	Held []HeldObject `cbor:"4,keyasint,omitempty"`
	// Applied are the Versions of the last commit that the node received.
	Applied map[string]string `cbor:"5,keyasint,omitempty"`
	// Datastore is that of Applied; see wire.Commit.
	Datastore string `cbor:"6,keyasint,omitempty"`
}

// HeldObject is an object that a node already has.
type HeldObject struct {
	ID   wire.ID   `cbor:"1,keyasint"`
	Hash wire.Hash `cbor:"2,keyasint"`
	// Pieces are the PieceHashes of an IP set; feature set-pieces.
	Pieces []byte `cbor:"3,keyasint,omitempty"`
}

var (
	// ErrBehind is returned for a node that has applied changes which the Hub has not seen.
	ErrBehind = errors.New("replica is behind what the node has applied")
	// ErrReplaced is why a session ends whose node has opened too many others since.
	ErrReplaced = errors.New("the node has opened other streams")
	// ErrSlow is why a session ends whose node has left changes unread for too long.
	ErrSlow = errors.New("node reads too slowly")
	// ErrIdle is returned by NextBatch when nothing has changed.
	ErrIdle = errors.New("nothing changed")
)

// Session is one node's view of a Hub. It is a Source. Next and NextBatch are for one goroutine at a time, the other
// methods for any.
type Session struct {
	hub       *Hub
	node      *node
	lacks     wire.Features
	mayEnd    bool   // the Hub may end the session
	datastore string // of the versions in the batches
	opened    time.Time
	ended     chan struct{} // closed by the Hub when it ends the session
	why       error         // why the Hub ended it; set before ended is closed

	// Owned by the caller of Next.
	reply chan Batch // depth 1; of a request that is under way, written once by the Hub; nil if there is none
	asked time.Time  // when the request began

	// Owned by the goroutine of Hub.Run.
	pending pending
	number  uint64 // of the last batch
	status  sessionStatus
	answer  answer
}

// pending is what a session's node has not read yet.
type pending struct {
	waiter chan<- Batch // of the reader, if it waits for the next batch
	first  bool         // nothing was delivered yet, and held is set
	held   map[wire.ID]HeldObject
	// dirty are the IDs that changed since the last batch, with the revision that the node has, 0 for none. An object
	// that is again as the node has it is not among them.
	dirty  map[wire.ID]uint64
	since  time.Time // of the oldest change in dirty
	queued bool      // the session is in store.touched
}

// Connect opens a session of a node once the Hub is in sync. It fails with ErrBehind if the Hub has not seen what the
// node has applied. Close the session after use.
func (h *Hub) Connect(ctx context.Context, hello Hello) (*Session, error) {
	return h.connect(ctx, hello, false)
}

// ConnectRemote is Connect for a session that the Hub may end: with ErrSlow when the node leaves changes unread for too
// long, and with ErrReplaced when the node has opened more than MaxSessions.
func (h *Hub) ConnectRemote(ctx context.Context, hello Hello) (*Session, error) {
	return h.connect(ctx, hello, true)
}

func (h *Hub) connect(ctx context.Context, hello Hello, mayEnd bool) (*Session, error) {
	if hello.Node == "" {
		return nil, fmt.Errorf("connect: the node has no name")
	}
	if err := h.WaitInSync(ctx); err != nil {
		return nil, err
	}
	s := &Session{
		hub: h, mayEnd: mayEnd, lacks: wire.AllFeatures &^ wire.ParseFeatures(hello.Features),
		opened: time.Now(), ended: make(chan struct{}),
		pending: pending{first: true, held: make(map[wire.ID]HeldObject, len(hello.Held)), dirty: map[wire.ID]uint64{}},
	}
	for _, held := range hello.Held {
		s.pending.held[held.ID] = held
	}
	var refused error
	err := h.call(ctx, func() {
		h.flush() // the versions include all updates received, and so must the snapshot
		refused = h.input.covers(hello)
		if refused == nil {
			h.open(s, hello.Node)
		}
	})
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	return s, nil
}

// open adds a session to its node.
func (h *Hub) open(s *Session, name string) {
	s.datastore = h.input.datastore
	s.node = h.store.node(name)
	s.node.sessions = append(s.node.sessions, s)
	s.node.endOldest()
	h.observers.nodeChanged(name)
}

// MaxSessions is how many sessions of ConnectRemote a node may have: one whose connection broke unnoticed, one of a
// process that ends, and one of its successor. It bounds what the holder of a node's token can cost.
const MaxSessions = 4

// endOldest ends the oldest session if there are more than MaxSessions.
func (n *node) endOldest() {
	live := 0
	var oldest *Session
	for _, s := range n.sessions {
		if !s.mayEnd || s.why != nil {
			continue
		}
		live++
		if oldest == nil {
			oldest = s
		}
	}
	if live > MaxSessions {
		oldest.end(ErrReplaced)
	}
}

// end makes NextBatch fail.
func (s *Session) end(why error) {
	if s.why == nil {
		s.why = why
		close(s.ended)
	}
}

// Ended returns a channel that is closed when the Hub ends the session.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Err returns why the Hub ended the session, once Ended is closed.
func (s *Session) Err() error { return s.why }

// Lacks returns the features that the node lacks.
func (s *Session) Lacks() wire.Features { return s.lacks }

// Datastore identifies the datastore that the versions in the batches are of; empty if it is not known.
func (s *Session) Datastore() string { return s.datastore }

// Close closes the session. It may be called twice, and after the Hub has ended.
func (s *Session) Close() {
	s.hub.post(func() {
		s.node.sessions = slices.DeleteFunc(s.node.sessions, func(other *Session) bool { return other == s })
		s.hub.observers.nodeChanged(s.node.name)
		s.hub.store.forgetNode(s.node)
	})
}

// NextBatch waits for the next batch. It returns ErrIdle if idle delivers first; idle may be nil. A request whose
// caller gave up stays open, and its batch goes to the next caller, so that no batch is lost.
func (s *Session) NextBatch(ctx context.Context, idle <-chan time.Time) (Batch, error) {
	if s.reply == nil {
		reply := make(chan Batch, 1)
		s.asked = time.Now()
		if err := s.hub.do(ctx, func() { s.pending.waiter = reply; s.serve(false) }); err != nil {
			return Batch{}, err
		}
		s.reply = reply
	}
	select {
	case b := <-s.reply:
		s.reply = nil
		s.hub.opts.Metrics.sessions.delivered(b.waited, time.Since(s.asked))
		return b, nil
	case <-idle:
		return Batch{}, ErrIdle
	case <-s.ended:
		return Batch{}, s.why
	case <-s.hub.done:
		return Batch{}, ErrClosed
	case <-ctx.Done():
		return Batch{}, ctx.Err()
	}
}

// mark marks that an object changed from one revision to another; 0 is none. It reports whether there is a mark now.
func (p *pending) mark(id wire.ID, from, to uint64) bool {
	if p.first {
		return false // the first batch has everything
	}
	had, marked := p.dirty[id]
	switch {
	case marked && had == to, !marked && from == to:
		delete(p.dirty, id) // what came and went leaves no mark, however long the node does not read
		return false
	case !marked:
		if len(p.dirty) == 0 {
			p.since = time.Now()
		}
		p.dirty[id] = from
	}
	return true
}

// overdue reports whether the node has left a change unread for longer than a time.
func (p *pending) overdue(now time.Time, limit time.Duration) bool {
	return len(p.dirty) > 0 && now.Sub(p.since) > limit
}

// serve sends the next batch to the reader, if it waits and something has changed, and reports whether it did. waited
// reports whether the reader was there before the change.
func (s *Session) serve(waited bool) bool {
	p := &s.pending
	if p.waiter == nil || !p.first && len(p.dirty) == 0 {
		return false
	}
	metrics := &s.hub.opts.Metrics.sessions
	b := Batch{Versions: s.hub.input.applied, waited: waited}
	if p.first {
		b.first = s.snapshot()
		metrics.snapshots.Inc()
	} else {
		metrics.clientLatency.Observe(time.Since(p.since).Seconds())
		s.difference(&b)
	}
	s.number++
	b.Number = s.number
	s.status.sent(s.number)
	s.hub.observers.nodeChanged(s.node.name)
	p.waiter <- b // has room for the one batch
	p.waiter = nil
	return true
}

// snapshot returns references to all that the node needs. The reader compares it with what the node holds.
func (s *Session) snapshot() *snapshot {
	first := &snapshot{catalog: s.hub.store.catalog, own: make([]*Object, 0, len(s.node.needs)), held: s.pending.held}
	for e := range s.node.needs {
		if e.object != nil {
			first.own = append(first.own, e.object)
		}
	}
	s.pending.first, s.pending.held = false, nil
	return first
}

// difference fills a batch with what the marks stand for, and removes the marks.
func (s *Session) difference(b *Batch) {
	for id, had := range s.pending.dirty {
		o := s.hub.store.needed(s.node, id)
		if o == nil {
			b.Deletes = append(b.Deletes, id)
		} else if steps, known := o.since(had); known {
			b.Sets = append(b.Sets, SetChange{o, steps})
		} else {
			b.Upserts = append(b.Upserts, o)
		}
	}
	s.pending.dirty = map[wire.ID]uint64{}
}
