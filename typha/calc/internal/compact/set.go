package compact

import "slices"

// Set is a set of values in no order. Adding and removing a value take constant time. The zero value is an empty set.
type Set[V comparable] struct {
	list []V
	at   map[V]int32 // the index of each value in the list; nil while a search of the list is as fast
}

// indexedFrom is the size from which a Set has an index of its values.
const indexedFrom = 64

// Add adds a value that is not in the set.
func (s *Set[V]) Add(x V) {
	if s.at != nil {
		s.at[x] = int32(len(s.list))
	}
	s.list = append(s.list, x)
	if s.at == nil && len(s.list) > indexedFrom {
		s.at = make(map[V]int32, len(s.list))
		for i, x := range s.list {
			s.at[x] = int32(i)
		}
	}
}

// Remove removes a value, if it is there.
func (s *Set[V]) Remove(x V) {
	if s.at == nil {
		s.list = Without(s.list, x)
		return
	}
	i, is := s.at[x]
	if !is {
		return
	}
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[i], s.at[moved] = moved, i
	delete(s.at, x)
	var zero V
	s.list[last] = zero
	s.list = s.list[:last]
	if last < indexedFrom/2 {
		s.at = nil
	}
}

// Has reports whether a value is in the set.
func (s *Set[V]) Has(x V) bool {
	if s.at == nil {
		return slices.Contains(s.list, x)
	}
	_, is := s.at[x]
	return is
}

// Len returns the number of values.
func (s *Set[V]) Len() int { return len(s.list) }

// All iterates over the values. The set must not change meanwhile.
func (s *Set[V]) All(yield func(V) bool) {
	for _, x := range s.list {
		if !yield(x) {
			return
		}
	}
}

// Pointers is a set of pointers in no order. A single pointer, as in most of them, takes no memory of its own. The zero
// value is an empty set.
type Pointers[T any] struct {
	first *T
	more  *Set[*T] // nil while there is at most one
}

// Add adds a pointer that is not in the set.
func (p *Pointers[T]) Add(x *T) {
	if p.first == nil {
		p.first = x
		return
	}
	if p.more == nil {
		p.more = &Set[*T]{}
	}
	p.more.Add(x)
}

// Remove removes a pointer that is in the set.
func (p *Pointers[T]) Remove(x *T) {
	if p.more == nil {
		p.first = nil
		return
	}
	if p.first == x {
		p.first = p.more.list[len(p.more.list)-1]
		x = p.first
	}
	p.more.Remove(x)
	if p.more.Len() == 0 {
		p.more = nil
	}
}

// First returns one of the pointers, or nil if there is none.
func (p *Pointers[T]) First() *T { return p.first }

// Len returns the number of pointers.
func (p *Pointers[T]) Len() int {
	switch {
	case p.first == nil:
		return 0
	case p.more == nil:
		return 1
	}
	return 1 + p.more.Len()
}

// AppendTo appends the pointers to a list.
func (p Pointers[T]) AppendTo(list []*T) []*T {
	if p.first != nil {
		list = append(list, p.first)
	}
	if p.more != nil {
		list = append(list, p.more.list...)
	}
	return list
}

// All iterates over the pointers. The set must not change meanwhile.
func (p *Pointers[T]) All(yield func(*T) bool) {
	if p.first == nil || !yield(p.first) || p.more == nil {
		return
	}
	p.more.All(yield)
}

// Without removes one value from a list whose order means nothing.
func Without[T comparable](list []T, x T) []T {
	i := slices.Index(list, x)
	if i < 0 {
		return list
	}
	var zero T
	list[i], list[len(list)-1] = list[len(list)-1], zero
	return list[:len(list)-1]
}
