package calc

import (
	"maps"

	"github.com/maneki-net/maneki/typha/calc/compile"
)

// Merged adds values to a sorted list.
func Merged(sorted, more []int, compare func(a, b int) int) []int {
	return merged(sorted, more, compare)
}

// Residue counts everything that an Engine remembers.
func (e *Engine) Residue() map[string]int {
	counts := map[string]int{
		"current": len(e.out.current), "pending": len(e.out.pending) + len(e.out.policies),
		"problems":      len(e.problems.reasons) + len(e.problems.ofServices),
		"profile rules": len(e.profiles.rules), "counted selectors": len(e.tenants.counted),
		"policies": e.policies.Len() + len(e.policies.staged), "tiers": len(e.tiers),
		"policy lists": e.lists.byKey.Len(),
		"changed": len(e.changed.items) + len(e.changed.groups) + len(e.lists.changed) + len(e.lists.single) +
			len(e.profiles.changed),
		"tenants":  len(e.tenants.byName) + len(e.tenants.unmeasured) + len(e.tenants.dirty),
		"jobs":     len(e.backlog.jobs) + len(e.backlog.lines),
		"topology": e.network.topology.Size(), "owners": e.network.owners.Size(),
		"node configurations": e.network.nodes.Size(), "BGP": e.network.bgp.Size(),
	}
	for l := range e.lists.tiers {
		if e.lists.byKey.Get(l.key) != l {
			counts["tiers of no list"]++
		}
	}
	maps.Copy(counts, e.index.Held())
	maps.Copy(counts, e.needs.Held())
	maps.Copy(counts, e.sets.Held())
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
	e.backlog.light, e.tenants.leastCharge = -1, 1
	e.sets.BoundServices(ServiceBound)
	return e
}

// NewTight makes an Engine that counts the members of sets exactly up to powers of two.
func NewTight(budget compile.Budget) *Engine {
	e := NewWithin(budget)
	e.tenants.leastCharge = 1
	e.sets.BoundServices(ServiceBound)
	return e
}

// ServiceBound is how many members a Service may have in the engines for tests. Some Services of random clusters have
// more.
const ServiceBound = 8

// NewBounded makes an Engine in which few members of a Service are too many.
func NewBounded() *Engine {
	e := New()
	e.sets.BoundServices(ServiceBound)
	return e
}
