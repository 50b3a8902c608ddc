package calc_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// world is what the nodes have after the deltas that were applied to it.
type world struct {
	objects map[wire.ID]wire.Object
	needs   map[string]map[wire.ID]bool
}

func newWorld() *world {
	return &world{objects: map[wire.ID]wire.Object{}, needs: map[string]map[wire.ID]bool{}}
}

// apply takes a delta in, and checks that it says nothing superfluous and leaves nothing dangling.
func (w *world) apply(t *testing.T, d calc.Delta) {
	t.Helper()
	checkOrder(t, d)
	for _, o := range d.Upserts {
		switch before := w.objects[o.ID()]; {
		case before != nil && o.ID().Kind == wire.KindIPSet:
			t.Errorf("%s is sent whole, although it was there", o.ID())
		case reflect.DeepEqual(before, o):
			t.Errorf("%s is sent again, although it did not change", o.ID())
		}
		w.objects[o.ID()] = o
		if p, is := o.(*wire.Policy); is {
			checkRules(t, p.Name, slices.Concat(p.Ingress, p.Egress))
		}
	}
	for _, id := range d.Deletes {
		if w.objects[id] == nil {
			t.Errorf("deletion of %s, which does not exist", id)
		}
		delete(w.objects, id)
	}
	for _, change := range d.Sets {
		id := wire.ID{Kind: wire.KindIPSet, Name: change.Name}
		s, ok := w.objects[id].(*wire.IPSet)
		if !ok {
			t.Errorf("change of %s, which does not exist", id)
			continue
		}
		w.objects[id] = &wire.IPSet{Name: s.Name, Type: s.Type,
			Nets:  changed(t, s.Nets, change.AddedNets, change.RemovedNets, comparePrefixes),
			Ports: changed(t, s.Ports, change.AddedPorts, change.RemovedPorts, comparePorts)}
	}
	for node, change := range d.Interest {
		if w.needs[node] == nil {
			w.needs[node] = map[wire.ID]bool{}
		}
		for _, id := range change.Added {
			if w.needs[node][id] {
				t.Errorf("%s needs %s twice", node, id)
			}
			w.needs[node][id] = true
		}
		for _, id := range change.Removed {
			if !w.needs[node][id] {
				t.Errorf("%s no longer needs %s, which it never did", node, id)
			}
			delete(w.needs[node], id)
		}
		if len(w.needs[node]) == 0 {
			delete(w.needs, node)
		}
	}
	for node, ids := range w.needs {
		for id := range ids {
			if w.objects[id] == nil {
				t.Errorf("%s needs %s, which does not exist", node, id)
			}
		}
	}
}

// checkOrder: additions by kind and name, deletions the other way about.
func checkOrder(t *testing.T, d calc.Delta) {
	t.Helper()
	compare := func(a, b wire.ID) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name)) }
	if !slices.IsSortedFunc(d.Upserts, func(a, b wire.Object) int { return compare(a.ID(), b.ID()) }) {
		t.Errorf("upserts are not in order")
	}
	if !slices.IsSortedFunc(d.Deletes, func(a, b wire.ID) int { return compare(b, a) }) {
		t.Errorf("deletes are not in order: %v", d.Deletes)
	}
}

// checkRules looks for what no kernel can match: ports and types are parts of some protocols.
func checkRules(t *testing.T, name string, rules []wire.Rule) {
	t.Helper()
	for n, r := range rules {
		icmp := r.Protocol == 1 || r.Protocol == 58
		if (r.ICMP != nil || r.NotICMP != nil) && !icmp {
			t.Errorf("%s rule %d matches ICMP in protocol %d", name, n, r.Protocol)
		}
		ranges := len(r.Src.Ports) + len(r.Dst.Ports) + len(r.Src.NotPorts) + len(r.Dst.NotPorts)
		if ranges > 0 && r.Protocol != 6 && r.Protocol != 17 && r.Protocol != 132 {
			t.Errorf("%s rule %d matches ports in protocol %d", name, n, r.Protocol)
		}
	}
}

// changed applies a change to a sorted list.
func changed[T comparable](t *testing.T, list, added, removed []T, compare func(a, b T) int) []T {
	t.Helper()
	list = slices.Clone(list)
	for _, x := range removed {
		at := slices.Index(list, x)
		if at < 0 {
			t.Errorf("removal of %v, which is not there", x)
			continue
		}
		list = slices.Delete(list, at, at+1)
	}
	for _, x := range added {
		if slices.Contains(list, x) {
			t.Errorf("%v is added twice", x)
		}
	}
	list = append(list, added...)
	slices.SortFunc(list, compare)
	if len(list) == 0 {
		return nil
	}
	return list
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func comparePorts(a, b wire.PortMember) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// get reads an object as a node sees it.
func get[T wire.Object](w *world, node string, id wire.ID) (o T, err error) {
	if !w.needs[node][id] {
		return o, fmt.Errorf("node %s was not given %s", node, id)
	}
	o, ok := w.objects[id].(T)
	if !ok {
		return o, fmt.Errorf("%s does not exist", id)
	}
	return o, nil
}

// named gives the policies that the endpoints of a node name, and the sets that these name.
func (w *world) named(node string) map[wire.ID]bool {
	all := map[wire.ID]bool{}
	name := func(kind wire.Kind, names ...string) {
		for _, name := range names {
			all[wire.ID{Kind: kind, Name: name}] = true
		}
	}
	for id := range w.needs[node] {
		var tiers []wire.Tier
		switch e := w.objects[id].(type) {
		case *wire.Endpoint:
			tiers = e.Tiers
			name(wire.KindPolicy, e.Profiles...)
		case *wire.HostEndpoint:
			tiers = slices.Concat(e.Tiers, e.Forward, e.PreDNAT, e.Untracked)
			name(wire.KindPolicy, e.Profiles...)
		}
		for _, tier := range tiers {
			name(wire.KindPolicy, tier.Ingress...)
			name(wire.KindPolicy, tier.Egress...)
		}
	}
	for id := range all {
		p, ok := w.objects[id].(*wire.Policy)
		if !ok {
			continue
		}
		for _, r := range slices.Concat(p.Ingress, p.Egress) {
			for _, m := range []wire.Match{r.Src, r.Dst} {
				name(wire.KindIPSet, slices.Concat(m.Sets, m.NotSets, m.PortSets, m.NotPortSets)...)
			}
		}
	}
	return all
}

// decide evaluates a flow at a pod or host endpoint as its node would.
func (w *world) decide(q question, f *flow) (verdict, error) {
	v := &viewer{world: w, flow: f, node: q.of.node, ingress: q.direction == v3.PolicyTypeIngress}
	if h := q.of.host; h != nil {
		e, err := get[*wire.HostEndpoint](w, v.node, wire.ID{Kind: wire.KindHostEndpoint, Name: h.Name})
		if err != nil {
			return "", err
		}
		switch q.chain {
		case untracked:
			return v.tiers(e.Untracked)
		case preDNAT:
			return v.tiers(e.PreDNAT)
		case forward:
			return v.tiers(e.Forward)
		}
		return v.endpoint(e.Tiers, e.Profiles)
	}
	e, err := get[*wire.Endpoint](w, v.node, wire.ID{Kind: wire.KindEndpoint,
		Name: wire.EndpointName(q.of.namespace, q.of.workload)})
	if err != nil {
		return "", err
	}
	return v.endpoint(e.Tiers, e.Profiles)
}

// viewer looks at a flow with what a node was given.
type viewer struct {
	*world
	node    string
	flow    *flow
	ingress bool
}

// endpoint asks the tiers, then the profiles: what none decides is denied.
func (v *viewer) endpoint(tiers []wire.Tier, profiles []string) (verdict, error) {
	decided, err := v.tiers(tiers)
	if err != nil || decided != undecided {
		return decided, err
	}
	action, err := v.policies(profiles, wire.Deny)
	return verdicts[action], err
}

var verdicts = map[wire.Action]verdict{wire.Allow: allowed, wire.Deny: denied}

func (v *viewer) tiers(tiers []wire.Tier) (verdict, error) {
	for _, tier := range tiers {
		names := tier.Egress
		if v.ingress {
			names = tier.Ingress
		}
		if len(names) == 0 {
			continue
		}
		action, err := v.policies(names, tier.DefaultAction)
		if err != nil {
			return "", err
		}
		if action != wire.Pass {
			return verdicts[action], nil
		}
	}
	return undecided, nil
}

// policies gives the action of the first rule that matches, or otherwise that at the end.
func (v *viewer) policies(names []string, end wire.Action) (wire.Action, error) {
	for _, name := range names {
		p, err := get[*wire.Policy](v.world, v.node, wire.ID{Kind: wire.KindPolicy, Name: name})
		if err != nil {
			return 0, err
		}
		rules := p.Egress
		if v.ingress {
			rules = p.Ingress
		}
		for _, r := range rules {
			matches, err := v.matches(&r)
			if err != nil {
				return 0, err
			}
			if matches && r.Action != wire.Log {
				return r.Action, nil
			}
		}
	}
	return end, nil
}

func (v *viewer) matches(r *wire.Rule) (bool, error) {
	f := v.flow
	family := uint8(6)
	if f.src.Is4() {
		family = 4
	}
	icmp := func(m *wire.ICMP) bool {
		return (f.protocol == 1 || f.protocol == 58) && m.Type == f.icmpType && (!m.HasCode || m.Code == f.icmpCode)
	}
	switch {
	case r.Protocol != 0 && r.Protocol != f.protocol, r.NotProtocol != 0 && r.NotProtocol == f.protocol,
		r.Family != 0 && r.Family != family, r.ICMP != nil && !icmp(r.ICMP), r.NotICMP != nil && icmp(r.NotICMP):
		return false, nil
	}
	src, err := v.end(&r.Src, f.src, f.sport)
	if err != nil || !src {
		return false, err
	}
	return v.end(&r.Dst, f.dst, f.dport)
}

func (v *viewer) end(m *wire.Match, addr netip.Addr, port uint16) (bool, error) {
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	if len(m.Nets) > 0 && !slices.ContainsFunc(m.Nets, in) || slices.ContainsFunc(m.NotNets, in) {
		return false, nil
	}
	for _, list := range []struct {
		sets []string
		want bool
	}{{m.Sets, true}, {m.NotSets, false}} {
		for _, name := range list.sets {
			s, err := v.set(name, wire.SetNet)
			if err != nil || slices.ContainsFunc(s.Nets, in) != list.want {
				return false, err
			}
		}
	}
	if len(m.Ports)+len(m.PortSets) > 0 {
		if there, err := v.ports(m.Ports, m.PortSets, addr, port); err != nil || !there {
			return false, err
		}
	}
	there, err := v.ports(m.NotPorts, m.NotPortSets, addr, port)
	return !there, err
}

func (v *viewer) ports(ranges []wire.PortRange, sets []string, addr netip.Addr, port uint16) (bool, error) {
	if slices.ContainsFunc(ranges, func(r wire.PortRange) bool { return r.First <= port && port <= r.Last }) {
		return true, nil
	}
	for _, name := range sets {
		s, err := v.set(name, wire.SetPort)
		if err != nil {
			return false, err
		}
		if slices.Contains(s.Ports, wire.PortMember{Addr: addr, Protocol: v.flow.protocol, Port: port}) {
			return true, nil
		}
	}
	return false, nil
}

func (v *viewer) set(name string, kind wire.SetType) (*wire.IPSet, error) {
	s, err := get[*wire.IPSet](v.world, v.node, wire.ID{Kind: wire.KindIPSet, Name: name})
	if err == nil && s.Type != kind {
		err = fmt.Errorf("set %s is of type %d, and used as %d", name, s.Type, kind)
	}
	return s, err
}
