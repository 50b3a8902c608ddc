package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// object is one wire object and, once somebody needed it, its encoding.
type object struct {
	value  wire.Object
	encode sync.Once
	frame  []byte // as it is sent; see frame.go
	hash   wire.Hash
	err    error
}

// encoded gives the object's frame and hash. It may be called from any goroutine.
func (o *object) encoded() ([]byte, wire.Hash, error) {
	o.encode.Do(func() { o.frame, o.hash, o.err = objectFrame(o.value) })
	return o.frame, o.hash, o.err
}

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
}

// HeldObject is an object that a node already has.
type HeldObject struct {
	ID   wire.ID   `cbor:"1,keyasint"`
	Hash wire.Hash `cbor:"2,keyasint"`
}

// ErrBehind says that a Hub has seen less than the node has already applied.
var ErrBehind = errors.New("replica is behind what the node has applied")

// Session is one node's view of a Hub. It is a Source.
type Session struct {
	hub   *Hub
	node  string
	reply chan batch // of a request that is under way; owned by the caller of Next

	// The rest is owned by the Hub's goroutine.
	waiter chan<- batch // where the next batch goes, if the reader waits
	first  bool         // nothing was delivered yet; held is still of use
	held   map[wire.ID]wire.Hash
	// dirty are the ids that changed since the last batch, and whether the node had the object
	// before: what came and went in between is never mentioned.
	dirty  map[wire.ID]bool
	number uint64
	report wire.Report
}

// batch is a commit whose objects may have been encoded.
type batch struct {
	number   uint64
	upserts  []*object
	deletes  []wire.ID
	versions map[string]string
}

// Connect opens a node's session once the Hub is in sync. It fails with ErrBehind (wrapped) if
// the Hub has seen less than the node has applied. Close the session after use.
func (h *Hub) Connect(ctx context.Context, hello Hello) (*Session, error) {
	if hello.Node == "" {
		return nil, fmt.Errorf("connect: the node has no name")
	}
	select {
	case <-h.synced:
	case <-h.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s := &Session{hub: h, node: hello.Node, first: true, held: map[wire.ID]wire.Hash{}, dirty: map[wire.ID]bool{}}
	for _, held := range hello.Held {
		s.held[held.ID] = held.Hash
	}
	var behind error
	err := h.call(ctx, func() {
		if behind = h.versions.covers(hello.Applied); behind != nil {
			return
		}
		if h.sessions[s.node] == nil {
			h.sessions[s.node] = map[*Session]struct{}{}
		}
		h.sessions[s.node][s] = struct{}{}
	})
	if err != nil {
		return nil, err
	}
	if behind != nil {
		return nil, fmt.Errorf("connect node %s: %w: %w", s.node, ErrBehind, behind)
	}
	return s, nil
}

// Close ends the session. It may be called twice, and after the Hub has ended.
func (s *Session) Close() {
	s.hub.post(func() {
		delete(s.hub.sessions[s.node], s)
		if len(s.hub.sessions[s.node]) == 0 {
			delete(s.hub.sessions, s.node)
		}
	})
}

// Next implements Source.
func (s *Session) Next(ctx context.Context) (wire.Commit, error) {
	b, err := s.next(ctx)
	if err != nil {
		return wire.Commit{}, err
	}
	c := wire.Commit{Number: b.number, Deletes: b.deletes, InSync: true, Versions: b.versions}
	for _, o := range b.upserts {
		c.Upserts = append(c.Upserts, o.value)
	}
	return c, nil
}

// next asks the Hub for the next batch. A request whose caller gave up stays open, and its
// answer goes to the next caller, so that no batch is lost.
func (s *Session) next(ctx context.Context) (batch, error) {
	if s.reply == nil {
		reply := make(chan batch, 1)
		if err := s.hub.do(ctx, func() { s.waiter = reply; s.serve() }); err != nil {
			return batch{}, err
		}
		s.reply = reply
	}
	select {
	case b := <-s.reply:
		s.reply = nil
		return b, nil
	case <-s.hub.done:
		return batch{}, ErrClosed
	case <-ctx.Done():
		return batch{}, ctx.Err()
	}
}

// Report implements Source.
func (s *Session) Report(r wire.Report) {
	s.hub.post(func() { s.report = r })
}

// mark notes that an object changed for the node; had says whether the node has some
// version of it.
func (s *Session) mark(id wire.ID, had bool) {
	if s.first {
		return // the first batch looks at everything
	}
	if _, marked := s.dirty[id]; !marked {
		s.dirty[id] = had
	}
}

// serve answers a waiting reader if there is something to say.
func (s *Session) serve() {
	if s.waiter == nil || !s.first && len(s.dirty) == 0 {
		return
	}
	b, any := batch{}, true
	if s.first {
		start := time.Now()
		b = s.snapshot()
		s.hub.metrics.snapshots.Inc()
		s.hub.log.Debug("snapshot cut", "node", s.node, "upserts", len(b.upserts), "took", time.Since(start))
	} else {
		b = s.difference()
		any = len(b.upserts)+len(b.deletes) > 0
	}
	if !any {
		return
	}
	order(b)
	s.number++
	b.number = s.number
	b.versions = maps.Clone(s.hub.versions.changed)
	s.waiter <- b // has room for the one answer
	s.waiter = nil
}

// snapshot is the difference between what the node said it holds and what it needs.
func (s *Session) snapshot() batch {
	var b batch
	add := func(id wire.ID) {
		o := s.hub.objects[id]
		if held, ok := s.held[id]; ok {
			delete(s.held, id)
			if _, hash, err := o.encoded(); err == nil && hash == held {
				return
			}
		}
		b.upserts = append(b.upserts, o)
	}
	for id := range s.hub.objects {
		if calc.ForEveryNode(id) {
			add(id)
		}
	}
	for id := range s.hub.nodes[s.node] {
		add(id)
	}
	b.deletes = slices.Collect(maps.Keys(s.held))
	s.first, s.held = false, nil
	return b
}

// difference is what the marks amount to.
func (s *Session) difference() batch {
	var b batch
	for id, had := range s.dirty {
		switch {
		case s.hub.needs(s.node, id):
			b.upserts = append(b.upserts, s.hub.objects[id])
		case had:
			b.deletes = append(b.deletes, id)
		}
	}
	s.dirty = map[wire.ID]bool{}
	return b
}

// order sorts a batch so that it is safe to apply in sequence: what is named exists.
func order(b batch) {
	slices.SortFunc(b.upserts, func(x, y *object) int { return compareIDs(x.value.ID(), y.value.ID()) })
	slices.SortFunc(b.deletes, func(x, y wire.ID) int { return compareIDs(y, x) })
}

func compareIDs(a, b wire.ID) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
