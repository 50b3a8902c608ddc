package hub

import (
	"fmt"
	"sync"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// Object is one version of a wire object. It is immutable, but for the encodings that it remembers. Any goroutine may
// call its methods.
type Object struct {
	id       wire.ID
	revision uint64      // number of the change that made this version; never 0
	value    wire.Object // an IP set is a *wire.PackedSet
	needs    wire.Features
	steps    []*SetStep // that made this version of an IP set out of the versions before it, oldest first

	mu    sync.Mutex
	forms []*form // by what the receivers lack; none if one node alone needs the object
}

// form is an object's encoding for nodes that lack the same features.
type form struct {
	lacks    wire.Features // of those that the object needs
	withheld bool          // such nodes do not get the object
	hash     wire.Hash
	data     []byte // the encoding; nil for an IP set, and when there is a frame
	frame    []byte // nil until it is asked for
}

// Framing puts the encoding of an object into the form in which a transport sends it.
type Framing func(kind wire.Kind, data []byte) ([]byte, error)

func newObject(value wire.Object, revision uint64) *Object {
	if set, ok := value.(*wire.IPSet); ok {
		value = wire.Pack(set)
	}
	return &Object{id: value.ID(), revision: revision, value: value, needs: wire.Needs(value)}
}

// ID returns the ID.
func (o *Object) ID() wire.ID { return o.id }

// Value returns the object; an IP set is a *wire.PackedSet.
func (o *Object) Value() wire.Object { return o.value }

// revisionOrZero returns the revision; 0 for no object.
func (o *Object) revisionOrZero() uint64 {
	if o == nil {
		return 0
	}
	return o.revision
}

// shared reports whether several nodes may need the object.
func (o *Object) shared() bool {
	return o.id.Kind == wire.KindPolicy || o.id.Kind == wire.KindIPSet || calc.ForEveryNode(o.id)
}

// Frame returns the object as it is sent to nodes that lack features; nil if such nodes do not get it. What several
// nodes may need is encoded and framed once, so the framing has to be the same in every call.
func (o *Object) Frame(lacks wire.Features, framing Framing) ([]byte, error) {
	var frame []byte
	err := o.withForm(lacks, func(f *form) error {
		if f.frame == nil && !f.withheld {
			if err := o.addFrame(f, framing); err != nil {
				return err
			}
		}
		frame = f.frame
		return nil
	})
	return frame, err
}

func (o *Object) addFrame(f *form, framing Framing) (err error) {
	data := f.data
	if set, ok := o.value.(*wire.PackedSet); ok {
		data, err = wire.Encode(set)
	}
	if err == nil {
		f.frame, err = framing(o.id.Kind, data)
	}
	if err != nil {
		return fmt.Errorf("encode %s: %w", o.id, err)
	}
	f.data = nil
	return nil
}

// hash returns the hash of the object as nodes that lack features get it, and whether they do not get it.
func (o *Object) hash(lacks wire.Features) (hash wire.Hash, withheld bool, err error) {
	err = o.withForm(lacks, func(f *form) error {
		hash, withheld = f.hash, f.withheld
		return nil
	})
	return hash, withheld, err
}

// withForm calls use with the form for nodes that lack features.
func (o *Object) withForm(lacks wire.Features, use func(*form) error) error {
	lacks &= o.needs
	if !o.shared() {
		f, err := o.encode(lacks)
		if err != nil {
			return err
		}
		return use(f)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.forms {
		if f.lacks == lacks {
			return use(f)
		}
	}
	f, err := o.encode(lacks)
	if err != nil {
		return err
	}
	o.forms = append(o.forms, f)
	return use(f)
}

func (o *Object) encode(lacks wire.Features) (*form, error) {
	if set, ok := o.value.(*wire.PackedSet); ok {
		return &form{lacks: lacks, hash: set.Hash()}, nil
	}
	value := wire.Downgrade(o.value, lacks)
	if value == nil {
		return &form{lacks: lacks, withheld: true}, nil
	}
	data, err := wire.Encode(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.id, err)
	}
	return &form{lacks: lacks, hash: wire.HashOf(data), data: data}, nil
}

// SetStep is a change from one version of an IP set to the next. It is immutable, but for the frame that it remembers.
type SetStep struct {
	delta wire.SetDelta
	count int    // of members afterwards
	from  uint64 // revision of the version before

	once  sync.Once
	frame []byte
	err   error
}

// Frame returns the change in the form in which it is sent. framing makes that form out of the change and the number of
// members afterwards. It is called once for all receivers, so it has to be the same in every call.
func (s *SetStep) Frame(framing func(delta wire.SetDelta, count int) ([]byte, error)) ([]byte, error) {
	s.once.Do(func() {
		s.frame, s.err = framing(s.delta, s.count)
		if s.err != nil {
			s.err = fmt.Errorf("encode change of set %s: %w", s.delta.Name, s.err)
		}
	})
	return s.frame, s.err
}

// maxSteps is the largest number of versions that a session may be behind and still get changes instead of the set.
const maxSteps = 64

// changedBy returns the next version of an IP set. It remembers steps as long as they have together less than half as
// many members as the set: more would not be worth sending.
func (o *Object) changedBy(delta wire.SetDelta, revision uint64) *Object {
	set := o.value.(*wire.PackedSet).With(&delta)
	next := newObject(set, revision)
	last := &SetStep{from: o.revision, delta: delta, count: set.Len()}
	steps := append(o.steps[:len(o.steps):len(o.steps)], last)
	budget, keep := set.Len()/2, 0
	for keep < min(len(steps), maxSteps) {
		budget -= steps[len(steps)-1-keep].delta.Len()
		if budget < 0 {
			break
		}
		keep++
	}
	next.steps = steps[len(steps)-keep:]
	return next
}

// since returns the steps that lead from a revision to this version, and whether they are known.
func (o *Object) since(revision uint64) ([]*SetStep, bool) {
	for i, s := range o.steps {
		if s.from == revision {
			return o.steps[i:], true
		}
	}
	return nil, false
}
