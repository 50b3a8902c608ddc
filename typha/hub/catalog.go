package hub

import (
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// catalog is the objects that every node needs, sorted by ID. It is immutable. A new session takes a reference to the
// present one, and all sessions share what a transport encodes of it.
type catalog []*Shelf

// Shelf is a part of the catalog: from 1 to shelfSize objects. It is immutable.
type Shelf struct{ objects []*Object }

const shelfSize = 256

// Objects returns the objects, sorted by ID. The caller must not change the slice.
func (s *Shelf) Objects() []*Object { return s.objects }

// with returns the catalog with an object, which replaces one of the same ID.
func (c catalog) with(o *Object) catalog {
	if len(c) == 0 {
		return catalog{{objects: []*Object{o}}}
	}
	i, n, found := c.find(o.id)
	objects := slices.Clone(c[i].objects)
	if found {
		objects[n] = o
	} else {
		objects = slices.Insert(objects, n, o)
	}
	if len(objects) <= shelfSize {
		return c.replaced(i, &Shelf{objects: objects})
	}
	half := len(objects) / 2
	return c.replaced(i, &Shelf{objects: slices.Clone(objects[:half])}, &Shelf{objects: slices.Clone(objects[half:])})
}

// without returns the catalog without an object.
func (c catalog) without(id wire.ID) catalog {
	if len(c) == 0 {
		return c
	}
	i, n, found := c.find(id)
	switch {
	case !found:
		return c
	case len(c[i].objects) == 1:
		return c.replaced(i)
	}
	return c.replaced(i, &Shelf{objects: slices.Delete(slices.Clone(c[i].objects), n, n+1)})
}

// replaced returns the catalog with other shelves instead of shelf i.
func (c catalog) replaced(i int, shelves ...*Shelf) catalog {
	return slices.Concat(c[:i], shelves, c[i+1:])
}

// find returns the shelf, and the index in it, where the ID is or would be.
func (c catalog) find(id wire.ID) (i, n int, found bool) {
	i, found = slices.BinarySearchFunc(c, id, func(s *Shelf, id wire.ID) int { return s.objects[0].id.Compare(id) })
	if !found {
		i = max(0, i-1)
	}
	n, found = slices.BinarySearchFunc(c[i].objects, id, func(o *Object, id wire.ID) int { return o.id.Compare(id) })
	return i, n, found
}

// count returns the number of objects.
func (c catalog) count() int {
	n := 0
	for _, s := range c {
		n += len(s.objects)
	}
	return n
}
