package stream

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// snapshot is everything that a node needs, and what it holds of it.
type snapshot struct {
	catalog catalog
	own     []*object // what not every node needs
	held    map[wire.ID]HeldObject
	pieces  map[string][]byte // what is held of sets that differ
}

// keeps reports whether the node has the object as it is, and takes it out of what would be deleted.
func (s *snapshot) keeps(o *object, lacks wire.Features) (bool, error) {
	held, ok := s.held[o.id]
	if !ok {
		return false, nil
	}
	f, err := o.encoded(lacks)
	if err != nil {
		return false, err
	}
	if f.frame != nil || f.hash != (wire.Hash{}) { // otherwise it is not to have it
		delete(s.held, o.id)
	}
	if set, ok := o.value.(*wire.PackedSet); ok && f.hash != held.Hash && lacks&wire.FeatureSetPieces == 0 {
		if s.pieces == nil {
			s.pieces = map[string][]byte{}
		}
		s.pieces[set.Name] = held.Pieces
	}
	return f.hash == held.Hash, nil
}

// order sorts a batch so that it is safe to apply in sequence: what is named exists.
func (b *batch) order() {
	slices.SortFunc(b.upserts, func(x, y *object) int { return compareIDs(x.id, y.id) })
	slices.SortFunc(b.sets, func(x, y setSteps) int { return strings.Compare(x.object.id.Name, y.object.id.Name) })
	slices.SortFunc(b.deletes, func(x, y wire.ID) int { return compareIDs(y, x) })
}

// resolve turns a first batch into one of upserts and deletes.
func (b *batch) resolve(lacks wire.Features) error {
	if b.first == nil {
		return nil
	}
	add := func(o *object) error {
		keeps, err := b.first.keeps(o, lacks)
		if !keeps {
			b.upserts = append(b.upserts, o)
		}
		return err
	}
	for _, shelf := range b.first.catalog {
		for _, o := range shelf.objects {
			if err := add(o); err != nil {
				return err
			}
		}
	}
	for _, o := range b.first.own {
		if err := add(o); err != nil {
			return err
		}
	}
	b.deletes, b.pieces = slices.Collect(maps.Keys(b.first.held)), b.first.pieces
	b.first = nil
	return nil
}

// unpacked returns an object in the form that a Source hands out.
func unpacked(o wire.Object) wire.Object {
	if set, ok := o.(*wire.PackedSet); ok {
		return set.Unpack()
	}
	return o
}

// Next implements Source.
func (s *Session) Next(ctx context.Context) (wire.Commit, error) {
	b, err := s.next(ctx, nil)
	if err != nil {
		return wire.Commit{}, err
	}
	if err := b.resolve(s.lacks); err != nil {
		return wire.Commit{}, err
	}
	b.order()
	c := wire.Commit{Number: b.number, Deletes: b.deletes, InSync: true, Versions: b.versions, Datastore: s.datastore}
	for _, o := range b.upserts {
		if value := wire.Downgrade(o.value, s.lacks); value != nil {
			c.Upserts = append(c.Upserts, unpacked(value))
		}
	}
	for _, set := range b.sets {
		delta := set.steps[0].delta
		for _, step := range set.steps[1:] {
			delta = delta.Then(step.delta)
		}
		c.Sets = append(c.Sets, delta)
	}
	return c, nil
}
