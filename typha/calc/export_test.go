package calc

import "github.com/maneki-net/maneki/typha/calc/compile"

// Merged adds values to a sorted list.
func Merged(sorted, more []int, compare func(a, b int) int) []int {
	return merged(sorted, more, compare)
}

// Residue counts everything that an Engine remembers.
func (e *Engine) Residue() map[string]int {
	a := e.addresses
	counts := map[string]int{
		"current": len(e.out.current), "pending": len(e.out.pending) + len(e.out.policies),
		"interest": len(e.interest.nodes), "problems": len(e.problems.reasons) + len(e.problems.ofServices),
		"items": e.items.Len(), "names": len(e.names.numbers), "spaces": e.spaces.Len(), "places": e.places.Len(), "classes": e.classes.Len(), "profiles": e.profiles.Len(), "rulings": len(e.rulings),
		"nets": e.nets.Len(), "selectors": e.selectors.Len(), "index": len(e.index.files) + len(e.index.labels),
		"sets": e.sets.Len(), "slices": len(e.services.slices), "services": len(e.services.names),
		"policies": e.policies.Len() + len(e.staged) + len(e.recent), "tiers": len(e.tiers), "stacks": e.stacks.Len(),
		"everywhere": len(e.everywhere.counts) + e.everywhere.policies.Len() + e.everywhere.sets.Len() + len(e.everywhere.sets.again),
		"dirty":      len(e.dirty) + len(e.dirtyClasses) + len(e.fresh) + len(e.unused) + len(e.dirtyStacks) + len(e.usedStacks) + len(e.dirtyProfiles) + len(e.dirtySets) + len(e.dirtyGroups) + len(e.needs) + len(e.policyNeeds),
		"tenants":    len(e.tenants.byName) + len(e.tenants.unmeasured) + len(e.tenants.dirty), "jobs": len(e.backlog.jobs) + len(e.backlog.lines),
		"pools": len(e.pools.stored) + len(e.pools.unread) + len(e.pools.known) + len(e.pools.losers), "blocks": len(e.blocks), "hosts": len(e.hosts), "tunnels": len(e.tunnels.nodes) + len(e.tunnels.named),
		"claims": len(a.others), "covers": len(a.blocks), "lengths": len(a.lengths),
		"felix": len(e.felix.stored) + len(e.felix.nodes) + len(e.felix.dirty) + len(e.felix.changed), "BGP": e.bgp.Size(),
	}
	for st := range e.stackTiers {
		if e.stacks.Get(st.key) != st {
			counts["tiers of no stack"]++
		}
	}
	for _, n := range e.nets.bits {
		for _, count := range n {
			counts["nets"] += count
		}
	}
	for k, n := range counts {
		if n == 0 {
			delete(counts, k)
		}
	}
	return counts
}

// NewHeavy makes an Engine for which every policy takes long to be put in place.
func NewHeavy(budget compile.Budget) *Engine {
	e := NewWithin(budget)
	e.lightWork, e.leastCharge, e.services.bound = -1, 1, ServiceBound
	return e
}

// NewTight makes an Engine that counts the members of sets exactly up to powers of two.
func NewTight(budget compile.Budget) *Engine {
	e := NewWithin(budget)
	e.leastCharge, e.services.bound = 1, ServiceBound
	return e
}

// ServiceBound is how many members a Service may have in the engines for tests. Some Services of random clusters have more.
const ServiceBound = 8

// NewBounded makes an Engine in which few members of a Service are too many.
func NewBounded() *Engine {
	e := New()
	e.services.bound = ServiceBound
	return e
}
