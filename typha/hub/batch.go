package hub

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// Batch is a commit as references to objects of the Hub, which a transport sends in their encodings. The first batch of
// a session has no Upserts and Deletes before Resolve.
type Batch struct {
	Number  uint64
	Upserts []*Object
	Sets    []SetChange
	Deletes []wire.ID
	// Versions are those of wire.Commit. The map must not be changed.
	Versions map[string]string
	// Pieces has, by name, the PieceHashes that the node holds of IP sets among the Upserts.
	Pieces map[string][]byte

	first  *snapshot // of the first batch, until Resolve
	waited bool      // the reader was there before the change
}

// SetChange is the changes of an IP set of which the node has an earlier version.
type SetChange struct {
	Object *Object // the present version
	Steps  []*SetStep
}

// snapshot is everything that a node needs, and what it holds.
type snapshot struct {
	catalog catalog
	own     []*Object // what not every node needs
	held    map[wire.ID]HeldObject
}

// TakeCatalog removes the catalog from the first batch of a node that holds nothing, and returns it with the objects
// that have to be sent before it. They are not in the batch any more. It returns nothing for another batch.
func (b *Batch) TakeCatalog() (before []*Object, shelves []*Shelf) {
	if b.first == nil || len(b.first.held) > 0 {
		return nil, nil
	}
	b.first.own = slices.DeleteFunc(b.first.own, func(o *Object) bool {
		if o.id.Kind == wire.KindConfig {
			before = append(before, o)
			return true
		}
		return false
	})
	shelves, b.first.catalog = b.first.catalog, nil
	return before, shelves
}

// Resolve compares a first batch with what the node holds, and sorts the batch so that it is safe to apply in sequence:
// what an object names exists. lacks are the features that the node lacks.
func (b *Batch) Resolve(lacks wire.Features) error {
	if b.first != nil {
		if err := b.compare(lacks); err != nil {
			return err
		}
	}
	slices.SortFunc(b.Upserts, func(x, y *Object) int { return x.id.Compare(y.id) })
	slices.SortFunc(b.Sets, func(x, y SetChange) int { return strings.Compare(x.Object.id.Name, y.Object.id.Name) })
	slices.SortFunc(b.Deletes, func(x, y wire.ID) int { return y.Compare(x) })
	return nil
}

// compare turns the snapshot into upserts and deletes.
func (b *Batch) compare(lacks wire.Features) error {
	for _, shelf := range b.first.catalog {
		if err := b.addMissing(shelf.objects, lacks); err != nil {
			return err
		}
	}
	if err := b.addMissing(b.first.own, lacks); err != nil {
		return err
	}
	b.Deletes = slices.Collect(maps.Keys(b.first.held)) // what is left of them
	b.first = nil
	return nil
}

// addMissing adds the objects to the upserts that the node does not hold as they are. It removes from held the objects
// that the node may have.
func (b *Batch) addMissing(objects []*Object, lacks wire.Features) error {
	for _, o := range objects {
		held, holds := b.first.held[o.id]
		if !holds {
			b.Upserts = append(b.Upserts, o)
			continue
		}
		hash, withheld, err := o.hash(lacks)
		if err != nil {
			return err
		}
		if !withheld {
			delete(b.first.held, o.id)
		}
		if hash == held.Hash {
			continue
		}
		b.Upserts = append(b.Upserts, o)
		if o.id.Kind == wire.KindIPSet && lacks&wire.FeatureSetPieces == 0 {
			if b.Pieces == nil {
				b.Pieces = map[string][]byte{}
			}
			b.Pieces[o.id.Name] = held.Pieces
		}
	}
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
	b, err := s.NextBatch(ctx, nil)
	if err != nil {
		return wire.Commit{}, err
	}
	if err := b.Resolve(s.lacks); err != nil {
		return wire.Commit{}, err
	}
	c := wire.Commit{Number: b.Number, Deletes: b.Deletes, InSync: true, Versions: b.Versions, Datastore: s.datastore}
	for _, o := range b.Upserts {
		if value := wire.Downgrade(o.value, s.lacks); value != nil {
			c.Upserts = append(c.Upserts, unpacked(value))
		}
	}
	for _, set := range b.Sets {
		delta := set.Steps[0].delta
		for _, step := range set.Steps[1:] {
			delta = delta.Then(step.delta)
		}
		c.Sets = append(c.Sets, delta)
	}
	return c, nil
}
