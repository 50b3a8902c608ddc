package sets

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// Sets holds the sets in use. Make it with New.
type Sets struct {
	index      *labelindex.Index
	services   services
	byName     compact.Table[string, *Set]
	bySelector map[*labelindex.Selector]compact.Pointers[Set] // none is empty

	changed map[*Set]struct{} // that the next Flush looks at
	whole   []*wire.IPSet     // that the next Flush returns
	steps   atomic.Uint64
}

// Changes are what a Flush returns. The deltas apply after the new sets are there.
type Changes struct {
	New    []*wire.IPSet   // whole, in no order
	Gone   []wire.ID       // in no order
	Deltas []wire.SetDelta // sorted by name
}

// New returns a Sets without sets, which follows an index.
func New(index *labelindex.Index) *Sets {
	s := &Sets{
		index:      index,
		services:   newServices(),
		byName:     compact.NewTable(maphash.MakeSeed(), func(s *Set) string { return s.Name }),
		bySelector: map[*labelindex.Selector]compact.Pointers[Set]{},
		changed:    map[*Set]struct{}{},
	}
	index.Observe(s)
	return s
}

// Find returns the set with a name, or nil if it is not in use.
func (s *Sets) Find(name string) *Set { return s.byName.Get(name) }

// Acquire returns the set with a meaning, whose name is set. A new one is handed out only after Publish or HandOut.
// Release it after use.
func (s *Sets) Acquire(want spec.Set) *Set {
	set := s.byName.Get(want.Name)
	if set == nil {
		set = &Set{Content: want.Content}
		if want.Service == nil {
			set.selector = s.index.Acquire(want.Items)
			others := s.bySelector[set.selector]
			others.Add(set)
			s.bySelector[set.selector] = others
		} else {
			s.services.use(set)
		}
		s.byName.Add(set)
	}
	set.users++
	return set
}

// Publish has the next Flush return a set whole, unless that has happened. The index has to be flushed before, which
// then matches the selector of the set.
func (s *Sets) Publish(set *Set) {
	if set.published {
		return
	}
	s.changed[set] = struct{}{}
	if set.selector != nil {
		s.index.Match(set.selector)
	}
}

// HandOut is Publish for a set whose selector is matched. It does the work of it at once.
func (s *Sets) HandOut(set *Set) {
	set.published = true
	s.steps.Add(1)
	s.whole = append(s.whole, s.build(set))
}

// Release gives a set up. The next Flush drops it if it is in no other use by then.
func (s *Sets) Release(set *Set) {
	set.users--
	if set.users == 0 {
		s.changed[set] = struct{}{}
	}
}

// Flush returns what changed since the last call.
func (s *Sets) Flush() Changes {
	var out Changes
	for set := range s.changed {
		switch {
		case set.users == 0:
			s.drop(set)
			if set.published {
				out.Gone = append(out.Gone, set.ID())
			}
		case !set.published:
			s.HandOut(set)
		default:
			if d, differs := s.delta(set); differs {
				out.Deltas = append(out.Deltas, d)
			}
		}
	}
	if len(s.changed) > 0 {
		s.changed = map[*Set]struct{}{}
	}
	out.New, s.whole = s.whole, nil
	slices.SortFunc(out.Deltas, func(a, b wire.SetDelta) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// drop forgets a set that is not in use.
func (s *Sets) drop(set *Set) {
	s.byName.Remove(set)
	if set.selector == nil {
		s.services.release(set)
		return
	}
	others := s.bySelector[set.selector]
	others.Remove(set)
	if others.Len() == 0 {
		delete(s.bySelector, set.selector)
	} else {
		s.bySelector[set.selector] = others
	}
	s.index.Release(set.selector)
}

// Size returns the number of networks of items, or of endpoints of a Service, that a set is made from.
func (s *Sets) Size(set *Set) int {
	if set.selector == nil {
		return s.services.size(*set.Service)
	}
	return set.selector.Networks()
}

// SizeOf returns what Size would return for a set that may not be in use. It returns false if that is not known.
func (s *Sets) SizeOf(want *spec.Set) (int, bool) {
	if want.Service != nil {
		return s.services.size(*want.Service), true
	}
	selector := s.index.FindSelector(want.Items.Key())
	if selector == nil || !selector.Matched() {
		return 0, false
	}
	return selector.Networks(), true
}

// Len returns the number of sets in use.
func (s *Sets) Len() int { return s.byName.Len() }

// Steps returns the number of sets that were built so far. It may be called from any goroutine at any time.
func (s *Sets) Steps() uint64 { return s.steps.Load() }

// Held returns how many objects of each sort there are. Tests use it to show that nothing is left after everything was
// removed.
func (s *Sets) Held() map[string]int {
	return map[string]int{
		"sets":   s.byName.Len() + len(s.bySelector),
		"slices": len(s.services.slices), "services": len(s.services.byName),
		"changed sets": len(s.changed) + len(s.whole) + len(s.services.resized),
	}
}
