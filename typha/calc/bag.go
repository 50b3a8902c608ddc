package calc

import "slices"

// pile is a set of values in no order. Adding and removing a value take constant time, however many there are.
type pile[V comparable] struct {
	list []V
	at   map[V]int32 // the index of each value in the list; nil while a search of the list is as fast
}

// manyInPile is the size from which a pile has an index of its values.
const manyInPile = 64

func (p *pile[V]) add(x V) {
	if p.at != nil {
		p.at[x] = int32(len(p.list))
	}
	if p.list = append(p.list, x); p.at == nil && len(p.list) > manyInPile {
		p.at = make(map[V]int32, len(p.list))
		for i, x := range p.list {
			p.at[x] = int32(i)
		}
	}
}

// remove removes a value, if it is there.
func (p *pile[V]) remove(x V) {
	if p.at == nil {
		p.list = without(p.list, x)
		return
	}
	i, is := p.at[x]
	if !is {
		return
	}
	last := len(p.list) - 1
	moved := p.list[last]
	p.list[i], p.at[moved] = moved, i
	delete(p.at, x)
	var zero V
	p.list[last] = zero
	if p.list = p.list[:last]; last < manyInPile/2 {
		p.at = nil
	}
}

func (p *pile[V]) has(x V) bool {
	if p.at == nil {
		return slices.Contains(p.list, x)
	}
	_, is := p.at[x]
	return is
}

// bag is pointers in no order. One alone, as in most bags, takes no memory besides the bag.
type bag[T any] struct {
	one  *T
	more *pile[*T] // nil while there is one or none
}

func (b *bag[T]) add(x *T) {
	if b.one == nil {
		b.one = x
		return
	}
	if b.more == nil {
		b.more = &pile[*T]{}
	}
	b.more.add(x)
}

// remove takes out what is there.
func (b *bag[T]) remove(x *T) {
	if b.more == nil {
		b.one = nil
		return
	}
	if b.one == x {
		b.one = b.more.list[len(b.more.list)-1]
		x = b.one
	}
	b.more.remove(x)
	if len(b.more.list) == 0 {
		b.more = nil
	}
}

func (b *bag[T]) size() int {
	switch {
	case b.one == nil:
		return 0
	case b.more == nil:
		return 1
	}
	return 1 + len(b.more.list)
}

// appendTo appends the values to a list.
func (b bag[T]) appendTo(list []*T) []*T {
	if b.one != nil {
		list = append(list, b.one)
	}
	if b.more != nil {
		list = append(list, b.more.list...)
	}
	return list
}

func (b *bag[T]) all(yield func(*T) bool) {
	if b.one == nil || !yield(b.one) || b.more == nil {
		return
	}
	for _, x := range b.more.list {
		if !yield(x) {
			return
		}
	}
}
