package calc

import (
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
)

// endpoints follows the index for the endpoints in it: which policies apply to a group, and where they are needed.
type endpoints struct{ *Engine }

// ItemMoved implements labelindex.Observer.
func (e endpoints) ItemMoved(moved *labelindex.Item, from *labelindex.Group) {
	it := itemOf(moved)
	if it.is(itemCounted) {
		it.clearFlag(itemCounted)
		e.countEndpoint(it, from, -1)
	}
	if g := it.Group(); g != nil && g.Value == nil {
		g.Value = &applied{}
		e.decideProfileRules(g)
	}
	e.mark(it)
}

// NetworksChanged implements labelindex.Observer.
func (e endpoints) NetworksChanged(*labelindex.Item, compact.Networks) {}

// SelectionChanged implements labelindex.Observer.
func (e endpoints) SelectionChanged(_ *labelindex.Selector, g *labelindex.Group, _ bool) {
	e.markGroup(g)
}

// Resized implements labelindex.Observer.
func (e endpoints) Resized(s *labelindex.Selector, before int) {
	if e.charge(before) != e.charge(s.Networks()) && e.tenants.counted[s] != nil {
		e.tenants.resized[s] = struct{}{}
	}
}

// GroupDropped implements labelindex.Observer.
func (e endpoints) GroupDropped(g *labelindex.Group) {
	e.unstack(appliedTo(g))
	e.setProfileRules(g, nil)
}

// markGroup has the next Flush decide again which policies apply to a group.
func (e *Engine) markGroup(g *labelindex.Group) {
	if a := appliedTo(g); !a.dirty {
		a.dirty = true
		e.changedGroups = append(e.changedGroups, g)
	}
}

// subject returns the group of those that a selector selects: the policies in force whose subject it is, and the nodes
// that need them. It is the Value of the selector, and nil before the first policy. The staged policies are in
// Engine.staged.
func subject(s *labelindex.Selector) *group {
	g, _ := s.Value.(*group)
	return g
}

// isSubject reports whether a selector is the subject of a policy in force.
func isSubject(s *labelindex.Selector) bool {
	g := subject(s)
	return g != nil && g.policies.Len() > 0
}

// useSubject is subject for a selector that becomes the subject of a policy.
func useSubject(s *labelindex.Selector) *group {
	if s.Value == nil {
		s.Value = &group{}
	}
	return s.Value.(*group)
}
