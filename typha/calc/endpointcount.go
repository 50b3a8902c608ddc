package calc

import "github.com/maneki-net/maneki/typha/calc/labelindex"

// applyPolicies decides again which policies apply to a group.
func (e *Engine) applyPolicies(g *labelindex.Group) {
	a, now := appliedTo(g), e.lists.of(g)
	if a.policies == now {
		return
	}
	for _, it := range g.Items() {
		e.uncount(itemOf(it))
	}
	e.lists.assign(a, now)
}

// count counts an endpoint where its node needs the policies that apply to it.
func (e *Engine) count(it *item) {
	if !it.is(itemCounted) && it.isEndpoint() {
		it.setFlag(itemCounted)
		e.countEndpoint(it, it.Group(), 1)
	}
}

// uncount has the next Flush count the endpoint again. It is called before its node, or what applies to its group,
// changes.
func (e *Engine) uncount(it *item) {
	if it.is(itemCounted) {
		it.clearFlag(itemCounted)
		e.countEndpoint(it, it.Group(), -1)
		e.mark(it)
	}
}

// countEndpoint counts an endpoint n times more where what applies to a group is needed.
func (e *Engine) countEndpoint(it *item, g *labelindex.Group, n int32) {
	a := appliedTo(g)
	e.tally.endpoints[it.Kind()] += int(n)
	e.needs.Count(&e.needs.EveryNode, it.node, n)
	if a.rules != nil {
		for _, p := range a.rules.profiles {
			e.needs.Count(p.policy.Group, it.node, n)
		}
	}
	if a.policies != nil {
		for s := range a.policies.selectors.All {
			e.needs.Count(&subjectOf(s).nodes, it.node, n)
		}
	}
}

// flushPolicyLists makes the tiers of lists that changed, and marks the endpoints that get other tiers.
func (e *Engine) flushPolicyLists() {
	for _, l := range e.lists.changed {
		l.changed = false
		if l.groups == 0 {
			continue
		}
		tiers, before := l.tiers(allPolicies), l.hash
		l.hash = 0
		if len(tiers) > 0 { // without tiers it is as good as no list
			l.hash = e.hash(tiers)
		}
		e.lists.setTiers(l, tiers)
		for _, g := range l.selectors.First().Groups() {
			if appliedTo(g).policies == l && (l.hash != before || g.Kind() == labelindex.Host) {
				for _, it := range g.Items() {
					e.mark(itemOf(it))
				}
			}
		}
	}
	e.lists.changed = emptied(e.lists.changed)
}
