package calc

import (
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
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
	e.lists.assign(appliedTo(g), nil)
	e.setProfileRules(g, nil)
}

// markGroup has the next Flush decide again which policies apply to a group.
func (e *Engine) markGroup(g *labelindex.Group) {
	if a := appliedTo(g); !a.dirty {
		a.dirty = true
		e.changed.groups = append(e.changed.groups, g)
	}
}

// subject is what the engine knows of a selector as the subject of policies. It is the Value of the selector.
type subject struct {
	policies compact.Pointers[policy] // that are enforced; the staged ones are in Engine.policies
	nodes    needs.Group              // of the endpoints that the selector selects
}

// subjectOf returns the subject that a selector is, or nil if no policy has had it yet.
func subjectOf(s *labelindex.Selector) *subject {
	of, _ := s.Value.(*subject)
	return of
}

// isSubject reports whether a selector is the subject of a policy that is enforced.
func isSubject(s *labelindex.Selector) bool {
	of := subjectOf(s)
	return of != nil && of.policies.Len() > 0
}

// useSubject is subjectOf for a selector that becomes the subject of a policy.
func useSubject(s *labelindex.Selector) *subject {
	if s.Value == nil {
		s.Value = &subject{}
	}
	return s.Value.(*subject)
}
