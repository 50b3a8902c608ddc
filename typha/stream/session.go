package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// Hello is what a node says when it opens its stream.
type Hello struct {
	Node string `cbor:"1,keyasint"`
	// Version is the protocol version the node speaks; see ProtocolVersion.
	Version int `cbor:"2,keyasint"`
	// Features name what the node understands beyond the version.
	Features []string `cbor:"3,keyasint,omitempty"`
	// Held are the objects that the node has, with the hashes of their encodings.
	Held []HeldObject `cbor:"4,keyasint,omitempty"`
	// Applied are the Versions of the last commit that the node was given.
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

// ErrBehind says that a Hub has seen less than the node has already applied.
var ErrBehind = errors.New("replica is behind what the node has applied")

// ErrReplaced says that a node has opened too many sessions since.
var ErrReplaced = errors.New("the node has opened other streams")

// ErrSlow says that a node has left changes unread for too long.
var ErrSlow = errors.New("node reads too slowly")

// Session is one node's view of a Hub. It is a Source.
type Session struct {
	hub   *Hub
	node  *node
	lacks wire.Features
	drops bool       // it may be ended
	reply chan batch // of a request that is under way; owned by the caller of Next
	asked time.Time  // when that began; owned by the caller of Next
	ended chan struct{}
	// datastore is that of the versions in the batches.
	datastore string
	why       error // it was ended; set before ended is closed
	// settled, if set, is called when what the node held is not needed any more; owned by the caller of Next.
	settled func()

	// The rest is owned by the Hub's goroutine.
	waiter chan<- batch // where the next batch goes, if the reader waits
	first  bool         // nothing was delivered yet; held is still of use
	held   map[wire.ID]HeldObject
	// dirty are the ids that changed since the last batch, with the revision that the node has, 0 for none. What is
	// again as the node has it is not among them.
	dirty      map[wire.ID]uint64
	dirtySince time.Time
	queued     bool // in Hub.touched
	number     uint64
	status     sessionStatus
	answer     answer
}

// batch is a commit whose objects may have been encoded.
type batch struct {
	number   uint64
	first    *snapshot // of the first batch, in place of upserts and deletes
	upserts  []*object
	sets     []setSteps
	deletes  []wire.ID
	versions map[string]string
	pieces   map[string][]byte // by name, those that the node holds of sets among the upserts
	waited   bool              // the reader was there before the change
}

// setSteps are the changes of an IP set that a node has in an earlier version.
type setSteps struct {
	object *object
	steps  []*step
}

// Connect opens a node's session once the Hub is in sync. It fails with ErrBehind (wrapped) if
// the Hub has seen less than the node has applied. Close the session after use.
func (h *Hub) Connect(ctx context.Context, hello Hello) (*Session, error) {
	return h.connect(ctx, hello, false)
}

// connect is Connect for a session that may be ended: when it leaves changes unread for too long, or when its node has
// opened many others since.
func (h *Hub) connect(ctx context.Context, hello Hello, drops bool) (*Session, error) {
	if hello.Node == "" {
		return nil, fmt.Errorf("connect: the node has no name")
	}
	if err := h.whenInSync(ctx); err != nil {
		return nil, err
	}
	s := &Session{
		hub: h, drops: drops, lacks: wire.AllFeatures &^ wire.ParseFeatures(hello.Features), ended: make(chan struct{}),
		first: true, held: make(map[wire.ID]HeldObject, len(hello.Held)), dirty: map[wire.ID]uint64{},
	}
	for _, held := range hello.Held {
		s.held[held.ID] = held
	}
	s.status.connected = time.Now()
	var behind error
	err := h.call(ctx, func() {
		h.flush() // the versions speak of all that was taken in, and so has the snapshot to
		if behind = h.covers(hello); behind == nil {
			s.datastore = h.datastore
			s.node = h.node(hello.Node)
			s.node.sessions = append(s.node.sessions, s)
			s.node.endOldest()
			h.statusChanged(s.node)
		}
	})
	if err != nil {
		return nil, err
	}
	if behind != nil {
		return nil, fmt.Errorf("connect node %s: %w: %w", hello.Node, ErrBehind, behind)
	}
	return s, nil
}

// covers returns an error if the node would go back in time. What it has applied of another datastore, whose resource
// versions cannot be compared with those of this one, does not count: no replica would ever come up to it.
func (h *Hub) covers(hello Hello) error {
	if hello.Datastore != "" && h.datastore != "" && hello.Datastore != h.datastore {
		h.log.Info("what the node has applied is of another datastore", "node", hello.Node, "applied", hello.Datastore, "here", h.datastore)
		return nil
	}
	return h.versions.covers(hello.Applied)
}

// maxSessions is how many sessions a node may have: one whose connection broke unnoticed, a process that starts while
// another ends. Whoever has a node's token costs no more than that.
const maxSessions = 4

// endOldest ends the oldest of too many sessions.
func (n *node) endOldest() {
	live := 0
	var oldest *Session
	for _, s := range n.sessions {
		if !s.drops || s.why != nil {
			continue
		}
		if live++; oldest == nil {
			oldest = s
		}
	}
	if live > maxSessions {
		oldest.end(ErrReplaced)
	}
}

// end has Next fail.
func (s *Session) end(why error) {
	if s.why == nil {
		s.why = why
		close(s.ended)
	}
}

// Close ends the session. It may be called twice, and after the Hub has ended.
func (s *Session) Close() {
	s.hub.post(func() {
		s.node.sessions = slices.DeleteFunc(s.node.sessions, func(other *Session) bool { return other == s })
		s.hub.statusChanged(s.node)
		s.hub.forget(s.node)
	})
}

// errIdle says that there was nothing to say.
var errIdle = errors.New("nothing changed")

// next asks the Hub for the next batch, and gives errIdle if none comes before idle says so. A request whose caller
// gave up stays open, and its answer goes to the next caller, so that no batch is lost.
func (s *Session) next(ctx context.Context, idle <-chan time.Time) (batch, error) {
	if s.reply == nil {
		reply := make(chan batch, 1)
		s.asked = time.Now()
		if err := s.hub.do(ctx, func() { s.waiter = reply; s.serve(false) }); err != nil {
			return batch{}, err
		}
		s.reply = reply
	}
	select {
	case b := <-s.reply:
		s.reply = nil
		s.hub.metrics.took(b.waited, time.Since(s.asked))
		return b, nil
	case <-idle:
		return batch{}, errIdle
	case <-s.ended:
		return batch{}, s.why
	case <-s.hub.done:
		return batch{}, ErrClosed
	case <-ctx.Done():
		return batch{}, ctx.Err()
	}
}

// mark notes that an object changed for the node, from one revision to another; 0 is none.
func (s *Session) mark(id wire.ID, from, to uint64) {
	if s.first {
		return // the first batch looks at everything
	}
	switch had, marked := s.dirty[id]; {
	case marked && had == to, !marked && from == to:
		delete(s.dirty, id) // what came and went leaves nothing, however long the node does not read
		return
	case !marked:
		if len(s.dirty) == 0 {
			s.dirtySince = time.Now()
		}
		s.dirty[id] = from
	}
	if !s.queued {
		s.queued = true
		s.hub.touched = append(s.hub.touched, s)
	}
}

// serve answers a waiting reader if there is something to say, and says whether it did. waited says that the reader was
// there before the change.
func (s *Session) serve(waited bool) bool {
	if s.waiter == nil || !s.first && len(s.dirty) == 0 {
		return false
	}
	b := batch{versions: s.hub.applied, waited: waited}
	if s.first {
		b.first = s.snapshot()
		s.hub.metrics.snapshots.Inc()
	} else {
		s.hub.metrics.clientLatency.Observe(time.Since(s.dirtySince).Seconds())
		s.difference(&b)
	}
	s.number++
	b.number = s.number
	s.status.cut(s.number)
	s.hub.statusChanged(s.node)
	s.waiter <- b // has room for the one answer
	s.waiter = nil
	return true
}

// snapshot returns what the node needs, as references alone: the reader compares it with what the node holds.
func (s *Session) snapshot() *snapshot {
	first := &snapshot{catalog: s.hub.catalog, own: make([]*object, 0, len(s.node.needs)), held: s.held}
	for e := range s.node.needs {
		if e.object != nil {
			first.own = append(first.own, e.object)
		}
	}
	s.first, s.held = false, nil
	return first
}

// difference is what the marks amount to.
func (s *Session) difference(b *batch) {
	for id, had := range s.dirty {
		o := s.hub.needed(s.node, id)
		if o == nil {
			b.deletes = append(b.deletes, id)
		} else if steps, known := o.since(had); known {
			b.sets = append(b.sets, setSteps{o, steps})
		} else {
			b.upserts = append(b.upserts, o)
		}
	}
	s.dirty = map[wire.ID]uint64{}
}
