package policy

import (
	"maps"
	"reflect"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/typha/wire"
)

// Program is what there is to enforce in one family. Its Set and Remove methods take in what changed, and Commit
// renders the chains that this changes. What a change of one endpoint or of one policy costs does not depend on how
// many others there are, except that with IPVS one chain names all endpoints.
type Program struct {
	renderer  *Renderer // nil before the first one
	endpoints map[string]Endpoint
	hosts     []HostEndpoint
	policies  map[string]*wire.Policy
	nat       NAT

	made   map[unit]map[filter.ChainID]any // the chains and dispatches of each unit
	named  map[unit][]reference            // policies that each unit names
	users  map[reference]int               // how many times a policy's chain is named
	chains map[string]map[reference]bool
	dirty  dirty
}

// unit is what is rendered together: a workload, by its interface, or one of those below.
type unit string

const (
	unitNode  unit = "/node"  // what does not depend on which workloads there are
	unitNAT   unit = "/nat"   // address translation
	unitMarks unit = "/marks" // the chain that names all endpoints, with IPVS
)

// dirty is what has to be rendered.
type dirty struct {
	all      bool
	units    map[unit]bool
	policies map[string]bool
	chains   map[reference]bool // of policies that came into use or went out of it
}

func newDirty() dirty {
	return dirty{units: map[unit]bool{}, policies: map[string]bool{}, chains: map[reference]bool{}}
}

// NewProgram returns a Program that enforces nothing. It renders nothing before it has a Renderer.
func NewProgram() *Program {
	return &Program{
		endpoints: map[string]Endpoint{}, policies: map[string]*wire.Policy{},
		made: map[unit]map[filter.ChainID]any{}, named: map[unit][]reference{}, users: map[reference]int{},
		chains: map[string]map[reference]bool{}, dirty: newDirty(),
	}
}

// SetRenderer says how to render. If that differs, everything is rendered again.
func (p *Program) SetRenderer(r *Renderer) {
	if !reflect.DeepEqual(p.renderer, r) {
		p.renderer, p.dirty.all = r, true
	}
}

// SetEndpoint makes a workload's endpoint be enforced, in place of what its interface had.
func (p *Program) SetEndpoint(e Endpoint) {
	if former, known := p.endpoints[e.Interface]; known && reflect.DeepEqual(former, e) {
		return
	}
	p.endpoints[e.Interface] = e
	p.dirty.units[unit(e.Interface)] = true
}

// RemoveEndpoint ends what SetEndpoint began.
func (p *Program) RemoveEndpoint(device string) {
	delete(p.endpoints, device)
	p.dirty.units[unit(device)] = true
}

// SetHosts makes exactly these host endpoints be enforced. Each interface is among them once.
func (p *Program) SetHosts(hosts []HostEndpoint) {
	if !reflect.DeepEqual(p.hosts, hosts) {
		p.hosts = hosts
		p.dirty.units[unitNode] = true
	}
}

// SetPolicy makes a policy known. One that endpoints name and that is not known denies.
func (p *Program) SetPolicy(policy *wire.Policy) {
	p.policies[policy.Name] = policy
	p.dirty.policies[policy.Name] = true
}

// RemovePolicy makes a policy unknown.
func (p *Program) RemovePolicy(name string) {
	delete(p.policies, name)
	p.dirty.policies[name] = true
}

// SetNAT says what is rewritten when packets leave the node.
func (p *Program) SetNAT(n NAT) {
	if !reflect.DeepEqual(p.nat, n) {
		p.nat = n
		p.dirty.units[unitNAT] = true
	}
}

// Commit returns what changed since the last one.
func (p *Program) Commit() filter.Commit {
	var c filter.Commit
	if p.renderer == nil {
		return c
	}
	all := p.dirty.all
	if all {
		p.markAll()
	}
	if len(p.dirty.units) > 0 && p.renderer.IPVS != nil {
		p.dirty.units[unitMarks] = true
	}
	if all {
		p.dispatchAll(&c)
	}
	for _, u := range slices.Sorted(maps.Keys(p.dirty.units)) {
		p.render(u, &c)
		if !all && !special(u) {
			p.retarget(u, &c)
		}
	}
	p.renderPolicies(&c)
	p.dirty = newDirty()
	return c
}

func special(u unit) bool { return u == unitNode || u == unitNAT || u == unitMarks }

// markAll makes everything be rendered.
func (p *Program) markAll() {
	p.dirty.units[unitNode], p.dirty.units[unitNAT], p.dirty.units[unitMarks] = true, true, true
	for device := range p.endpoints {
		p.dirty.units[unit(device)] = true
	}
	for policy := range p.chains {
		p.dirty.policies[policy] = true
	}
}

// render renders a unit. Chains that it had and has no more go; those that are as they were are left out.
func (p *Program) render(u unit, c *filter.Commit) {
	former, made := p.made[u], map[filter.ChainID]any{}
	var named []reference
	for _, t := range p.tablesOf(u) {
		for _, chain := range t.chains {
			made[chain.ID()] = chain
			if !reflect.DeepEqual(former[chain.ID()], any(chain)) {
				c.Chains = append(c.Chains, chain)
			}
		}
		for _, d := range t.dispatches {
			made[d.ID()] = d
			if !reflect.DeepEqual(former[d.ID()], any(d)) {
				c.Dispatches = append(c.Dispatches, d)
			}
		}
		if u == unitNode || u == unitNAT {
			if c.Hooks == nil {
				c.Hooks = map[filter.Table]map[filter.Hook]filter.HookRules{}
			}
			c.Hooks[t.name] = t.hooks
		}
		named = append(named, t.policies...)
	}
	for id := range former {
		if _, stays := made[id]; !stays {
			c.Gone = append(c.Gone, id)
		}
	}
	p.name(named, 1)
	p.name(p.named[u], -1)
	p.made[u], p.named[u] = made, named
	if len(made) == 0 {
		delete(p.made, u)
		delete(p.named, u)
	}
}

// name counts the uses of policies' chains.
func (p *Program) name(list []reference, n int) {
	for _, r := range list {
		before := p.users[r]
		p.users[r] += n
		switch {
		case before == 0:
			if p.chains[r.policy] == nil {
				p.chains[r.policy] = map[reference]bool{}
			}
			p.chains[r.policy][r] = true
			p.dirty.chains[r] = true
		case p.users[r] == 0:
			delete(p.users, r)
			delete(p.chains[r.policy], r)
			if len(p.chains[r.policy]) == 0 {
				delete(p.chains, r.policy)
			}
			p.dirty.chains[r] = true
		}
	}
}

// tablesOf renders a unit in each table.
func (p *Program) tablesOf(u unit) []*table {
	r := p.renderer
	raw, mangle, filters := r.table(filter.Raw), r.table(filter.Mangle), r.table(filter.Filter)
	switch u {
	case unitNode:
		raw.raw(p.hosts)
		mangle.mangle(p.hosts)
		filters.filter(p.hosts)
		return []*table{raw, mangle, filters}
	case unitNAT:
		nat := r.table(filter.NAT)
		nat.nat(p.nat)
		return []*table{nat}
	case unitMarks:
		if r.IPVS != nil {
			filters.add(chainFromMark, filters.fromMarks(p.hosts, p.sortedEndpoints()))
		}
		return []*table{filters}
	}
	e, exists := p.endpoints[string(u)]
	if !exists {
		return nil
	}
	raw.add(prefixFromWorkload+e.Interface, forged(raw.sources(e)))
	filters.workload(e)
	if r.IPVS != nil {
		filters.workloadMark(e)
	}
	return []*table{raw, filters}
}

func (p *Program) sortedEndpoints() []Endpoint {
	list := make([]Endpoint, 0, len(p.endpoints))
	for _, device := range slices.Sorted(maps.Keys(p.endpoints)) {
		list = append(list, p.endpoints[device])
	}
	return list
}

// workloadDispatches are the dispatches to the chains of workloads, with what the names of these begin with.
var workloadDispatches = []struct {
	filter.Dispatch
	prefix string
	ipvs   bool
}{
	{filter.Dispatch{Table: filter.Raw, Name: chainFrom, Direction: filter.In}, prefixFromWorkload, false},
	{filter.Dispatch{Table: filter.Filter, Name: chainFrom, Direction: filter.In}, prefixFromWorkload, false},
	{filter.Dispatch{Table: filter.Filter, Name: chainTo, Direction: filter.Out}, prefixToWorkload, false},
	{filter.Dispatch{Table: filter.Filter, Name: chainSetWorkload, Direction: filter.In}, prefixSetMark, true},
}

// dispatchAll adds the dispatches to all workloads. What belongs to none is dropped.
func (p *Program) dispatchAll(c *filter.Commit) {
	for _, d := range workloadDispatches {
		if d.ipvs && p.renderer.IPVS == nil {
			c.Gone = append(c.Gone, d.ID())
			continue
		}
		d.Default = []filter.Rule{{Action: filter.Drop{}, Comment: "Unknown interface"}}
		d.Targets = make(map[string]string, len(p.endpoints))
		for device := range p.endpoints {
			d.Targets[device] = d.prefix + device
		}
		c.Dispatches = append(c.Dispatches, d.Dispatch)
	}
}

// retarget adds the changes of the dispatches for one workload.
func (p *Program) retarget(u unit, c *filter.Commit) {
	device := string(u)
	_, exists := p.endpoints[device]
	for _, d := range workloadDispatches {
		if d.ipvs && p.renderer.IPVS == nil {
			continue
		}
		target := filter.Target{Dispatch: d.ID(), Interface: device}
		if exists {
			target.Chain = d.prefix + device
		}
		c.Targets = append(c.Targets, target)
	}
}

// renderPolicies adds the chains of policies that changed and of those that came into use. Those that nothing names go.
func (p *Program) renderPolicies(c *filter.Commit) {
	for name := range p.dirty.policies {
		for r := range p.chains[name] {
			p.dirty.chains[r] = true
		}
	}
	for r := range p.dirty.chains {
		if p.users[r] == 0 {
			c.Gone = append(c.Gone, filter.ChainID{Table: r.table, Name: r.chain})
			continue
		}
		t := p.renderer.table(r.table)
		t.addClosing(r.chain, "policy "+r.policy, t.policy(p.policies[r.policy], r.ingress))
		c.Chains = append(c.Chains, t.chains...)
	}
}
