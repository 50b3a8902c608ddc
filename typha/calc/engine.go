package calc

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/maneki-net/maneki/typha/calc/bgp"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/calc/nodeconfig"
	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/topology"
	"github.com/maneki-net/maneki/typha/wire"
)

// Engine is the calculation. Its methods must be called from one goroutine, except Progress.
//
// It composes the packages below it. A resource goes to the package that it concerns (resource.go). Step then takes the
// changes from one package to the next: from pools and blocks to the addresses of items, from items and labels to what
// selectors select, from there to policies, endpoints and sets, and at last to the nodes that need them.
type Engine struct {
	// What can be selected, what selects it, and the sets of what is selected.
	index *labelindex.Index
	sets  *sets.Sets

	// Policies and profiles, and how much of them the budgets let in.
	policies policies
	tiers    tiers
	lists    policyLists
	profiles profiles
	budget   compile.Budget // of a single policy
	tenants  tenants
	backlog  backlog

	network network

	changed  changed // what the next Flush decides again
	out      output
	needs    *needs.Tracker
	problems problems

	progress atomic.Uint64 // steps, beside those of the index and of the sets
	tally    tally
	seed     maphash.Seed
}

// network is what computes the network between nodes.
type network struct {
	owners   *owner.Table
	topology *topology.Topology
	bgp      *bgp.Resolver
	nodes    *nodeconfig.Nodes
	// poolsByNamespace is set while a pool selects namespaces by their labels.
	poolsByNamespace bool
}

// changed is what the next Flush decides again.
type changed struct {
	items []*item // their endpoints: those with itemDirty
	// groups are those to which other policies may apply: those with applied.dirty. Some may be dropped.
	groups []*labelindex.Group
}

// New returns an Engine without resources, with the default Budget.
func New() *Engine { return NewWithin(compile.Budget{}) }

// NewWithin returns an Engine without resources, with a Budget.
func NewWithin(budget compile.Budget) *Engine {
	seed := maphash.MakeSeed()
	e := &Engine{
		index:    labelindex.New(),
		policies: newPolicies(seed),
		tiers:    tiers{},
		lists:    newPolicyLists(seed),
		profiles: newProfiles(),
		budget:   budget.WithDefaults(),
		tenants:  newTenants(),
		backlog:  newBacklog(),
		network:  network{bgp: bgp.New(), nodes: nodeconfig.New()},
		out:      newOutput(),
		needs:    needs.New(),
		problems: newProblems(),
		seed:     seed,
	}
	e.sets = sets.New(e.index)
	e.index.Observe(endpoints{e})
	e.network.owners = owner.New(pods{e})
	e.network.topology = topology.New(e.network.owners)
	return e
}

// Flush returns what changed since the last call.
func (e *Engine) Flush() Delta {
	d, _ := e.Step(unbounded)
	return d
}

// Step is like Flush, except for policies that take long to put in place. For these it does about limit steps; a step
// matches a selector or adds a member to a set. It reports whether there is more to do. Until a policy is in place, the
// former version stays in place; a new policy allows nothing.
func (e *Engine) Step(limit int) (d Delta, more bool) {
	e.flushNetwork()
	e.flushServices()
	if profiles := e.profiles.changed; len(profiles) > 0 {
		e.profiles.changed = map[*profile]struct{}{}
		for p := range profiles {
			e.flushProfile(p)
		}
	}
	for first := true; first || limit == unbounded && len(e.backlog.lines) > 0; first = false {
		e.work(limit)
		for again := true; again; again = e.fitPolicies() {
			e.flushGroups()
		}
	}
	e.flushItems()
	d.Sets = e.flushSets()
	e.index.Sweep(limit)
	d.Upserts, d.Deletes = e.out.flush()
	d.Interest = e.needs.Flush()
	d.Problems = e.problems.flush()
	return d, e.busy()
}

// flushGroups matches what is new, and decides which policies apply to the groups where that may have changed.
func (e *Engine) flushGroups() {
	e.index.Flush()
	for _, g := range e.changed.groups {
		appliedTo(g).dirty = false
		if len(g.Items()) > 0 {
			e.applyPolicies(g)
		}
	}
	e.changed.groups = emptied(e.changed.groups)
}

// flushSets hands out new sets, and returns how others changed.
func (e *Engine) flushSets() []wire.SetDelta {
	changes := e.sets.Flush()
	for _, s := range changes.New {
		e.out.changed(s)
	}
	for _, id := range changes.Gone {
		e.out.gone(id)
	}
	return changes.Deltas
}

// Progress returns the number of steps of the calculation so far. It may be called from any goroutine, even during a
// Flush.
func (e *Engine) Progress() uint64 { return e.progress.Load() + e.index.Steps() + e.sets.Steps() }

// flushItems decides again what applies to the items that changed, and what their nodes get.
func (e *Engine) flushItems() {
	for _, it := range e.changed.items {
		e.count(it)
	}
	e.flushPolicyLists()
	for _, it := range e.changed.items {
		e.progress.Add(1)
		if it.Kind().IsEndpoint() {
			e.flushEndpoint(it)
		}
		it.clearFlag(itemDirty)
		if it.is(itemGone) && !it.expected() {
			e.index.Remove(&it.Item)
		}
	}
	e.changed.items = emptied(e.changed.items)
	e.lists.trim()
}

// emptied returns a list without what was in it, and keeps its room for the next Flush where that is little.
func emptied[T any](list []T) []T {
	if cap(list) > 1024 {
		return nil
	}
	clear(list)
	return list[:0]
}
