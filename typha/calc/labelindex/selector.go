package labelindex

import (
	"slices"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// Selector is a spec.Selector in use, with what it selects. There is one for each meaning.
type Selector struct {
	// Value belongs to the user of the index, which does not use it.
	Value any

	expression *expression.Selector
	namespace  *namespace // that the selector is bound to, or nil
	scope      spec.Scope
	matched    bool  // the selector was matched against every group that existed at that time
	number     int32 // that no other selector in use has: it gives lists of selectors an order
	users      int32 // at 0 the selector is no longer found, and may still be among the matches of groups; see Sweep
	groups     []*Group
	networks   int // of the items in the groups
}

// Spec returns the meaning of the selector.
func (s *Selector) Spec() spec.Selector {
	out := spec.Selector{Scope: s.scope, Expression: s.expression}
	if s.namespace != nil {
		out.Namespace = s.namespace.name
	}
	return out
}

func (s *Selector) key() spec.SelectorKey { return s.Spec().Key() }

// Number returns a number that no other selector in use has.
func (s *Selector) Number() int32 { return s.number }

// Matched reports whether the selector was matched against all groups. Before that, Groups and Networks lack some.
func (s *Selector) Matched() bool { return s.matched }

// Groups returns the groups that the selector selects, as of the last Flush, in no order. The caller must not modify
// the list.
func (s *Selector) Groups() []*Group { return s.groups }

// Networks returns how many networks the selected items have. A network of two items counts twice.
func (s *Selector) Networks() int { return s.networks }

// Selects evaluates the selector on a group.
func (s *Selector) Selects(g *Group) bool {
	if s.namespace != nil && s.namespace != g.origin.namespace {
		return false
	}
	if s.scope == spec.Pods && g.origin.orchestrator != v3.OrchestratorK8s {
		return false
	}
	return (s.scope == spec.Nodes) == (g.origin.kind == Node) && s.expression.Evaluate(g)
}

// FindSelector returns the selector with a meaning, or nil if it is not in use.
func (x *Index) FindSelector(key spec.SelectorKey) *Selector { return x.selectors.Get(key) }

// Acquire returns the selector with a meaning, and makes it if it is not in use. A new one selects nothing until Match,
// or a Scan, has found its groups. Release it after use.
func (x *Index) Acquire(want spec.Selector) *Selector {
	s := x.selectors.Get(want.Key())
	if s == nil {
		s = &Selector{expression: want.Expression, scope: want.Scope, number: x.nextNumber}
		x.nextNumber++
		if want.Namespace != "" {
			s.namespace = x.acquireNamespace(want.Namespace)
		}
		x.selectors.Add(s)
		x.file(s)
	}
	s.users++
	return s
}

// Release gives a selector up. After the last use the selector is no longer found, and the observers are not called for
// the groups that it selected: nobody uses it. Sweep removes it from these groups.
func (x *Index) Release(s *Selector) {
	s.users--
	if s.users > 0 {
		return
	}
	x.selectors.Remove(s)
	x.unfile(s)
	if s.namespace != nil {
		x.releaseNamespace(s.namespace)
	}
	if len(s.groups) > 0 {
		x.unused = append(x.unused, s)
	}
}

// Sweep removes selectors that are no longer in use from the matches of groups. It removes all of them from a group at
// once, because many selectors may go out of use together. It does about limit steps.
func (x *Index) Sweep(limit int) {
	for len(x.unused) > 0 {
		s := x.unused[len(x.unused)-1]
		for len(s.groups) > 0 {
			if limit <= 0 {
				return
			}
			g := s.groups[len(s.groups)-1]
			s.groups = s.groups[:len(s.groups)-1]
			limit--
			if g.SelectedBy(s) {
				limit -= len(g.matches)
				g.matches = slices.DeleteFunc(g.matches, func(m match) bool { return m.users == 0 })
			}
		}
		s.groups = nil
		x.unused = x.unused[:len(x.unused)-1]
	}
	x.unused = nil
}

// Swept reports whether there is nothing to Sweep.
func (x *Index) Swept() bool { return len(x.unused) == 0 }

// resize counts that the items of a selector have n more networks.
func (x *Index) resize(s *Selector, n int) {
	if n == 0 {
		return
	}
	before := s.networks
	s.networks += n
	for _, o := range x.observers {
		o.Resized(s, before)
	}
}
