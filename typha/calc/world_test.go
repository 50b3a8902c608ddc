package calc_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

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
	for _, o := range d.Upserts {
		w.objects[o.ID()] = o
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

// allows evaluates a flow as the nodes would.
func (w *world) allows(f flow) (bool, error) {
	if f.srcp != nil {
		if ok, err := w.endpointAllows(f, f.srcp.Spec.NodeName, wire.EndpointName(f.srcp.Namespace, f.srcp.Name), false); err != nil || !ok {
			return false, err
		}
	}
	if f.dstp != nil {
		return w.endpointAllows(f, f.dstp.Spec.NodeName, wire.EndpointName(f.dstp.Namespace, f.dstp.Name), true)
	}
	return true, nil
}

func (w *world) endpointAllows(f flow, node, name string, ingress bool) (bool, error) {
	if node == "" {
		return true, nil
	}
	e, err := get[*wire.Endpoint](w, node, wire.ID{Kind: wire.KindEndpoint, Name: name})
	if err != nil {
		return false, err
	}
	for _, tier := range e.Tiers {
		names := tier.Egress
		if ingress {
			names = tier.Ingress
		}
		if len(names) == 0 {
			continue
		}
		action := tier.DefaultAction
	policies:
		for _, name := range names {
			p, err := get[*wire.Policy](w, node, wire.ID{Kind: wire.KindPolicy, Name: name})
			if err != nil {
				return false, err
			}
			rules := p.Egress
			if ingress {
				rules = p.Ingress
			}
			for _, r := range rules {
				matches, err := w.ruleMatches(f, node, r)
				if err != nil {
					return false, err
				}
				if matches && r.Action != wire.Log {
					action = r.Action
					break policies
				}
			}
		}
		if action != wire.Pass {
			return action == wire.Allow, nil
		}
	}
	return true, nil
}

var protocolNumbers = map[string]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}

func (w *world) ruleMatches(f flow, node string, r wire.Rule) (bool, error) {
	protocol := protocolNumbers[string(f.protocol)]
	if r.Protocol != 0 && r.Protocol != protocol || r.Family == 4 && !f.src.Is4() || r.Family == 6 && f.src.Is4() {
		return false, nil
	}
	src, err := w.endMatches(node, r.Src, f.src, protocol, 0)
	if err != nil || !src {
		return false, err
	}
	return w.endMatches(node, r.Dst, f.dst, protocol, uint16(f.port))
}

func (w *world) endMatches(node string, m wire.Match, addr netip.Addr, protocol uint8, port uint16) (bool, error) {
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	if len(m.Nets) > 0 && !slices.ContainsFunc(m.Nets, in) || slices.ContainsFunc(m.NotNets, in) {
		return false, nil
	}
	for _, name := range m.Sets {
		s, err := get[*wire.IPSet](w, node, wire.ID{Kind: wire.KindIPSet, Name: name})
		if err != nil {
			return false, err
		}
		if !slices.ContainsFunc(s.Nets, in) {
			return false, nil
		}
	}
	if len(m.Ports)+len(m.PortSets) == 0 {
		return true, nil
	}
	if slices.ContainsFunc(m.Ports, func(r wire.PortRange) bool { return r.First <= port && port <= r.Last }) {
		return true, nil
	}
	for _, name := range m.PortSets {
		s, err := get[*wire.IPSet](w, node, wire.ID{Kind: wire.KindIPSet, Name: name})
		if err != nil {
			return false, err
		}
		if slices.Contains(s.Ports, wire.PortMember{Addr: addr, Protocol: protocol, Port: port}) {
			return true, nil
		}
	}
	return false, nil
}
