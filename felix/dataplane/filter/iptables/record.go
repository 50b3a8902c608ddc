package iptables

import (
	"maps"
	"reflect"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
)

// change is what is desired anew since the tables were last as desired.
type change struct {
	rules bool            // a chain, a dispatch or a hook
	sets  map[string]bool // by id
	// former has, for each chain that changed or came, how it used sets, as often as it changed.
	former map[filter.ChainID][]map[string]use
}

func newChange() change {
	return change{sets: map[string]bool{}, former: map[filter.ChainID][]map[string]use{}}
}

// record makes a commit desired.
func (b *Backend) record(c filter.Commit) {
	for _, s := range c.Sets {
		b.recordSet(s)
	}
	if c.Withheld != nil {
		b.withheld = maps.Clone(c.Withheld)
	}
	for _, id := range c.Gone {
		b.forget(id)
	}
	for _, chain := range c.Chains {
		if former, known := b.chains[chain.ID()]; known && reflect.DeepEqual(former, chain) {
			continue
		}
		b.recordUses(chain.ID(), usesOf(chain.Rules), chain.Fallback != nil)
		b.chains[chain.ID()] = chain
		b.write(chain)
	}
	for _, d := range c.Dispatches {
		d.Targets = maps.Clone(d.Targets)
		next := newDispatch(d)
		b.replaceTree(b.dispatches[d.ID()], next)
		b.dispatches[d.ID()] = next
	}
	for _, target := range c.Targets {
		if d := b.dispatches[target.Dispatch]; d != nil {
			changed, gone := d.change(target.Interface, target.Chain)
			b.writeTree(d.Table, changed, gone)
		}
	}
	for name, hooks := range c.Hooks {
		b.change.rules = b.tables[name].hook(hooks, b.writer) || b.change.rules
	}
}

// recordUses takes in how a chain uses sets.
func (b *Backend) recordUses(id filter.ChainID, uses map[string]use, fallback bool) {
	b.change.rules = true
	former := b.usage.replace(id, uses, b.chains[id].Fallback != nil, fallback)
	b.change.former[id] = append(b.change.former[id], former)
}

// forget makes a chain or a dispatch not desired.
func (b *Backend) forget(id filter.ChainID) {
	if d := b.dispatches[id]; d != nil {
		b.replaceTree(d, nil)
		delete(b.dispatches, id)
		return
	}
	if _, known := b.chains[id]; !known {
		return
	}
	b.recordUses(id, nil, false)
	delete(b.chains, id)
	b.tables[id.Table].remove(id.Name)
}

// replaceTree writes the chains of a dispatch in the place of those of another. Either may be nil.
func (b *Backend) replaceTree(former, next *dispatch) {
	var chains []filter.Chain
	present := map[string]bool{}
	if next != nil {
		chains = next.chains()
		for _, c := range chains {
			present[c.Name] = true
		}
	}
	var gone []string
	if former != nil {
		for _, c := range former.chains() {
			if !present[c.Name] {
				gone = append(gone, c.Name)
			}
		}
		b.writeTree(former.Table, nil, gone)
	}
	if next != nil {
		b.writeTree(next.Table, chains, nil)
	}
}

// writeTree makes chains of a dispatch desired, and others not.
func (b *Backend) writeTree(name filter.Table, changed []filter.Chain, gone []string) {
	b.change.rules = b.change.rules || len(changed)+len(gone) > 0
	for _, chain := range gone {
		b.tables[name].remove(chain)
	}
	for _, c := range changed {
		b.tables[name].set(c.Name, closable{rules: b.writer.lines(c.Rules)})
	}
}

// recordSet makes a change of a set desired.
func (b *Backend) recordSet(s filter.SetChange) {
	name, known := b.names[s.ID]
	b.change.sets[s.ID] = true
	if s.Gone {
		if known {
			b.sets.Remove(name)
			delete(b.names, s.ID)
			delete(b.ids, name)
			delete(b.broken, s.ID)
		}
		return
	}
	if !known {
		name = b.choose(s.ID)
		b.names[s.ID], b.ids[name] = name, s.ID
		b.writeUsers(s.ID) // whose rules may have another name
	}
	if s.Whole != nil {
		kind := ipset.HashNet
		if s.Whole.Type == filter.SetPorts {
			kind = ipset.HashIPPort
		}
		b.sets.Set(ipset.Set{Name: name, Type: kind, Members: s.Whole.Members})
	}
	b.sets.RemoveMembers(name, s.Removed...)
	b.sets.AddMembers(name, s.Added...)
}

// choose returns the name of a set that was not desired: the one that the kernel's rules have, then one that the kernel
// has, then the first.
func (b *Backend) choose(id string) string {
	best, version := 0, 0
	for v := range ipset.Versions {
		h, there := b.sets.Actual(ipset.Name(b.commands.family, id, v))
		switch {
		case there && h.References > 0 && best < 2:
			best, version = 2, v
		case there && best < 1:
			best, version = 1, v
		}
	}
	return ipset.Name(b.commands.family, id, version)
}

// withhold keeps sets out of the kernel.
func (b *Backend) withhold() {
	names := make(map[string]error, len(b.withheld))
	for id, why := range b.withheld {
		names[b.setName(id)] = why
	}
	b.sets.Withhold(names)
}
