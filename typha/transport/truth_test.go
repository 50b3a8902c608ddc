package transport

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// state is what a node has, or should have. The members of sets are apart from their objects.
type state struct {
	objects map[wire.ID]wire.Object
	sets    map[string]map[netip.Prefix]bool
}

func newState() state {
	return state{objects: map[wire.ID]wire.Object{}, sets: map[string]map[netip.Prefix]bool{}}
}

// text gives everything in a form to compare.
func (s state) text() map[string]string {
	all := map[string]string{}
	for id, o := range s.objects {
		if id.Kind == wire.KindIPSet {
			var nets []string
			for n := range s.sets[id.Name] {
				nets = append(nets, n.String())
			}
			slices.Sort(nets)
			all[id.String()] = strings.Join(nets, " ")
			continue
		}
		data, err := wire.Encode(o)
		if err != nil {
			panic(err) // the objects were encoded before
		}
		all[id.String()] = string(data)
	}
	return all
}

// downgraded gives the state for a node that understands these features.
func (s state) downgraded(features wire.Features) state {
	d := state{objects: map[wire.ID]wire.Object{}, sets: s.sets}
	for id, o := range s.objects {
		if o := wire.Downgrade(o, wire.AllFeatures&^features); o != nil {
			d.objects[id] = o
		}
	}
	return d
}

// packet is one that comes in: TCP, or ICMP of a type.
type packet struct {
	from     netip.Addr
	protocol uint8
	icmp     uint8
}

// admits says whether an endpoint's policies let a packet in, straight from what the objects' documentation says. It
// knows what the policies of a history are made of.
func (s state) admits(e *wire.Endpoint, p packet) bool {
	for _, tier := range e.Tiers {
		if len(tier.Ingress) == 0 {
			continue
		}
		action := s.decide(tier.Ingress, p)
		if action == 0 {
			action = tier.DefaultAction
		}
		if action != wire.Pass {
			return action == wire.Allow
		}
	}
	return s.decide(e.Profiles, p) == wire.Allow
}

func (s state) decide(policies []string, p packet) wire.Action {
	for _, name := range policies {
		policy := s.objects[wire.ID{Kind: wire.KindPolicy, Name: name}].(*wire.Policy)
		for _, r := range policy.Ingress {
			if r.Action != wire.Log && s.matches(&r, p) {
				return r.Action
			}
		}
	}
	return 0
}

func (s state) matches(r *wire.Rule, p packet) bool {
	within := func(set string) bool { return s.sets[set][netip.PrefixFrom(p.from, 32)] }
	is := func(i *wire.ICMP) bool { return p.protocol == 1 && i.Type == p.icmp }
	switch {
	case r.Family == 6, r.Protocol != 0 && r.Protocol != p.protocol, r.ICMP != nil && !is(r.ICMP),
		r.NotICMP != nil && is(r.NotICMP):
		return false
	}
	return !slices.ContainsFunc(r.Src.Sets, func(set string) bool { return !within(set) }) &&
		!slices.ContainsFunc(r.Src.NotSets, within)
}

// truth computes what nodes should have after each change of a history, with an engine and nothing else.
type truth struct {
	engine  *calc.Engine
	present state
	needs   map[string]map[wire.ID]bool
	nodes   []string
	states  []map[string]state // by the number of changes, and node
}

func newTruth(nodes ...string) *truth {
	r := &truth{engine: calc.New(), present: newState(), needs: map[string]map[wire.ID]bool{}, nodes: nodes}
	r.note()
	return r
}

// note remembers what each node should have now.
func (r *truth) note() {
	all := map[string]state{}
	for _, node := range r.nodes {
		s := state{objects: map[wire.ID]wire.Object{}, sets: maps.Clone(r.present.sets)}
		for id, o := range r.present.objects {
			if calc.ForEveryNode(id) || r.needs[node][id] {
				s.objects[id] = o
			}
		}
		all[node] = s
	}
	r.states = append(r.states, all)
}

// follow takes in a change. Sets are not changed in place, since former states have them.
func (r *truth) follow(u hub.Update) {
	for _, o := range u.Upserts {
		r.engine.Upsert(o)
	}
	for _, n := range u.Deletes {
		r.engine.Delete(u.Kind, n.Namespace, n.Name)
	}
	delta := r.engine.Flush()
	for _, o := range delta.Upserts {
		r.present.objects[o.ID()] = o
		if s, ok := o.(*wire.IPSet); ok {
			r.present.sets[s.Name] = map[netip.Prefix]bool{}
			for _, n := range s.Nets {
				r.present.sets[s.Name][n] = true
			}
		}
	}
	for _, d := range delta.Sets {
		set := maps.Clone(r.present.sets[d.Name])
		for _, n := range d.AddedNets {
			set[n] = true
		}
		for _, n := range d.RemovedNets {
			delete(set, n)
		}
		r.present.sets[d.Name] = set
	}
	for _, id := range delta.Deletes {
		delete(r.present.objects, id)
	}
	for node, interest := range delta.Interest {
		if r.needs[node] == nil {
			r.needs[node] = map[wire.ID]bool{}
		}
		for _, id := range interest.Added {
			r.needs[node][id] = true
		}
		for _, id := range interest.Removed {
			delete(r.needs[node], id)
		}
	}
	r.note()
}

// checkClosed fails if a node lets in what it should not at that point of a history.
func checkClosed(t *testing.T, has, should state) (admitted int) {
	t.Helper()
	for id, o := range has.objects {
		e, ok := o.(*wire.Endpoint)
		if !ok {
			continue
		}
		full, ok := should.objects[id].(*wire.Endpoint)
		if !ok {
			t.Errorf("%s is not the node's", id)
			continue
		}
		for i := range 24 {
			p := packet{from: netip.AddrFrom4([4]byte{10, 0, byte(i % 2), byte(1 + 5*i)}), protocol: 6}
			if i%3 > 0 {
				p.protocol, p.icmp = 1, uint8(8*(i%2))
			}
			if has.admits(e, p) {
				admitted++
				if !should.admits(full, p) {
					t.Errorf("%s lets in %+v", id, p)
				}
			}
		}
	}
	return admitted
}
