package stream

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// object is one version of a wire object, immutable, with what was encoded of it for whoever receives it.
type object struct {
	id       wire.ID
	revision uint64      // number of the Hub's change that made it; never 0
	value    wire.Object // an IP set is a *wire.PackedSet
	needs    wire.Features
	// steps are how the last versions of an IP set, one after the other, became this one; oldest first.
	steps []*step

	mu    sync.Mutex
	forms []form // encodings, by what the receivers lack; none is kept of what one node alone needs
}

// form is an object's encoding for nodes that lack the same features.
type form struct {
	lacks wire.Features // of those that the object needs
	frame []byte        // as it is sent; nil if such nodes cannot be told
	hash  wire.Hash
}

func newObject(id wire.ID, value wire.Object, revision uint64) *object {
	return &object{id: id, revision: revision, value: value, needs: wire.Needs(value)}
}

// shared reports whether several nodes may need the object.
func (o *object) shared() bool {
	return o.id.Kind == wire.KindPolicy || o.id.Kind == wire.KindIPSet || calc.ForEveryNode(o.id)
}

// encoded returns the object's form for nodes that lack features. It may be called from any goroutine.
func (o *object) encoded(lacks wire.Features) (form, error) {
	lacks &= o.needs
	if !o.shared() {
		return o.encode(lacks)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.forms {
		if f.lacks == lacks {
			return f, nil
		}
	}
	f, err := o.encode(lacks)
	if err == nil {
		o.forms = append(o.forms, f)
	}
	return f, err
}

func (o *object) encode(lacks wire.Features) (form, error) {
	f := form{lacks: lacks}
	if set, ok := o.value.(*wire.PackedSet); ok { // its frame is made of the set's own octets; see messageWriter.set
		f.hash = set.Hash()
		return f, nil
	}
	value := wire.Downgrade(o.value, lacks)
	if value == nil {
		return f, nil
	}
	data, err := wire.Encode(value)
	if err != nil {
		return f, fmt.Errorf("encode %s: %w", o.id, err)
	}
	f.hash = wire.HashOf(data)
	if f.frame, err = encodeFrame(frameObject, objectBody{Kind: o.id.Kind, Data: data}); err != nil {
		return f, fmt.Errorf("encode %s: %w", o.id, err)
	}
	return f, nil
}

// step is a change from one version of an IP set to the next, encoded once for all sessions.
type step struct {
	from  uint64 // revision of the version before
	delta wire.SetDelta
	count int // of members afterwards

	once  sync.Once
	frame []byte
	err   error
}

func (s *step) encoded() ([]byte, error) {
	s.once.Do(func() {
		if s.frame, s.err = encodeFrame(frameSetDelta, setDeltaBody{s.delta, s.count}); s.err != nil {
			s.err = fmt.Errorf("encode change of set %s: %w", s.delta.Name, s.err)
		}
	})
	return s.frame, s.err
}

// maxSteps bounds how far behind a session may be and still get changes instead of the whole set.
const maxSteps = 64

// changedSet returns the next version of an IP set.
func changedSet(before *object, delta wire.SetDelta, revision uint64) *object {
	set := before.value.(*wire.PackedSet).With(&delta)
	o := newObject(before.id, set, revision)
	steps := append(before.steps[:len(before.steps):len(before.steps)], &step{from: before.revision, delta: delta, count: set.Len()})
	// Together the steps are less than half of the set: more would not be worth sending, nor keeping.
	budget, keep := set.Len()/2, 0
	for keep < min(len(steps), maxSteps) {
		if budget -= steps[len(steps)-1-keep].delta.Len(); budget < 0 {
			break
		}
		keep++
	}
	o.steps = steps[len(steps)-keep:]
	return o
}

// since returns the steps that lead from a revision to this version, and whether they are known.
func (o *object) since(revision uint64) ([]*step, bool) {
	for i, s := range o.steps {
		if s.from == revision {
			return o.steps[i:], true
		}
	}
	return nil, false
}

func compareIDs(a, b wire.ID) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
