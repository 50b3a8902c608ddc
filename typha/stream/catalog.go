package stream

import (
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// catalog is the objects that every node needs, by ID. It is immutable: a session that begins takes the present one,
// whatever its size, and all sessions share what is encoded of it.
type catalog []*shelf

// shelf is a part of a catalog: at least one object, and at most shelfSize. It is immutable.
type shelf struct{ objects []*object }

const shelfSize = 256

// with returns the catalog with an object put in, in place of one of the same ID if there is one.
func (c catalog) with(o *object) catalog {
	if len(c) == 0 {
		return catalog{{objects: []*object{o}}}
	}
	i, n, found := c.find(o.id)
	objects := slices.Clone(c[i].objects)
	if found {
		objects[n] = o
	} else {
		objects = slices.Insert(objects, n, o)
	}
	if len(objects) <= shelfSize {
		return c.replaced(i, &shelf{objects: objects})
	}
	half := len(objects) / 2
	return c.replaced(i, &shelf{objects: slices.Clone(objects[:half])}, &shelf{objects: slices.Clone(objects[half:])})
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
	return c.replaced(i, &shelf{objects: slices.Delete(slices.Clone(c[i].objects), n, n+1)})
}

func (c catalog) replaced(i int, shelves ...*shelf) catalog {
	return slices.Concat(c[:i], shelves, c[i+1:])
}

// find returns the shelf and the place in it where the ID is or would be.
func (c catalog) find(id wire.ID) (i, n int, found bool) {
	i, found = slices.BinarySearchFunc(c, id, func(s *shelf, id wire.ID) int { return compareIDs(s.objects[0].id, id) })
	if !found {
		i = max(0, i-1)
	}
	n, found = slices.BinarySearchFunc(c[i].objects, id, func(o *object, id wire.ID) int { return compareIDs(o.id, id) })
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
