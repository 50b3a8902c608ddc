package calc

// bag is pointers in no order. One alone, as in most bags, takes no memory besides the bag.
type bag[T any] struct {
	one  *T
	more *[]*T // nil while there is one or none
}

func (b *bag[T]) add(x *T) {
	switch {
	case b.one == nil:
		b.one = x
	case b.more == nil:
		b.more = &[]*T{x}
	default:
		*b.more = append(*b.more, x)
	}
}

// remove takes out what is there.
func (b *bag[T]) remove(x *T) {
	if b.more == nil {
		b.one = nil
		return
	}
	rest := *b.more
	if last := len(rest) - 1; b.one == x {
		b.one, rest[last] = rest[last], nil
		rest = rest[:last]
	} else {
		rest = without(rest, x)
	}
	if *b.more = rest; len(rest) == 0 {
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
	return 1 + len(*b.more)
}

func (b *bag[T]) all(yield func(*T) bool) {
	if b.one == nil || !yield(b.one) || b.more == nil {
		return
	}
	for _, x := range *b.more {
		if !yield(x) {
			return
		}
	}
}
