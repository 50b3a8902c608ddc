package routing

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// Table is the desired routes of one family: those of the network, which Compute returns, and those to the node's
// workloads, which win where both have a destination. A change of a workload costs that workload.
type Table struct {
	family   dataplane.Family
	source   netip.Addr
	protocol int
	network  map[netip.Prefix]route.Route
	// claims are the workloads that have an address, by their interfaces. The first gets the route.
	claims  map[netip.Addr][]Workload
	claimed map[string][]netip.Addr // by interface
	shared  map[netip.Addr]bool     // claimed by more than one
	changed map[netip.Prefix]bool   // since the last Changes
}

// NewTable returns a Table without routes.
func NewTable(family dataplane.Family) *Table {
	return &Table{family: family, network: map[netip.Prefix]route.Route{}, claims: map[netip.Addr][]Workload{},
		claimed: map[string][]netip.Addr{}, shared: map[netip.Addr]bool{}, changed: map[netip.Prefix]bool{}}
}

// Configure sets the protocol and the preferred source address of the routes to workloads.
func (t *Table) Configure(s Settings) {
	if t.source == s.Source && t.protocol == s.Protocol {
		return
	}
	t.source, t.protocol = s.Source, s.Protocol
	for addr := range t.claims {
		t.changed[hostPrefix(addr)] = true
	}
}

// SetNetwork makes these the routes of the network.
func (t *Table) SetNetwork(routes []route.Route) {
	network := make(map[netip.Prefix]route.Route, len(routes))
	for _, r := range routes {
		network[r.Dst] = r
		if former, had := t.network[r.Dst]; !had || !reflect.DeepEqual(former, r) {
			t.changed[r.Dst] = true
		}
	}
	for dst := range t.network {
		if _, has := network[dst]; !has {
			t.changed[dst] = true
		}
	}
	t.network = network
}

// SetWorkload makes the routes to a workload desired, in place of those to the former one of its interface.
func (t *Table) SetWorkload(w Workload) {
	t.RemoveWorkload(w.Interface)
	for _, addr := range w.Addrs {
		if dataplane.FamilyOf(addr) != t.family {
			continue
		}
		claims := append(t.claims[addr], w)
		slices.SortStableFunc(claims, func(a, b Workload) int { return cmp.Compare(a.Interface, b.Interface) })
		t.claim(addr, claims)
		t.claimed[w.Interface] = append(t.claimed[w.Interface], addr)
	}
}

// RemoveWorkload makes the routes to the workload of an interface not desired.
func (t *Table) RemoveWorkload(iface string) {
	for _, addr := range t.claimed[iface] {
		t.claim(addr, slices.DeleteFunc(t.claims[addr], func(w Workload) bool { return w.Interface == iface }))
	}
	delete(t.claimed, iface)
}

func (t *Table) claim(addr netip.Addr, claims []Workload) {
	t.changed[hostPrefix(addr)] = true
	delete(t.shared, addr)
	if len(claims) > 1 {
		t.shared[addr] = true
	}
	t.claims[addr] = claims
	if len(claims) == 0 {
		delete(t.claims, addr)
	}
}

// route returns the desired route to a destination.
func (t *Table) route(dst netip.Prefix) (route.Route, bool) {
	if claims := t.claims[dst.Addr()]; len(claims) > 0 && dst.IsSingleIP() {
		return route.Route{Dst: dst, Src: t.source, Protocol: t.protocol,
			Hops: []route.Hop{{Device: claims[0].Interface}}}, true
	}
	r, has := t.network[dst]
	return r, has
}

// Changes returns what changed since it was last called: the routes that are desired now, and the keys of those that
// are not any more.
func (t *Table) Changes() (upserts []route.Route, deletes []route.Key) {
	for dst := range t.changed {
		if r, desired := t.route(dst); desired {
			upserts = append(upserts, r)
		} else {
			deletes = append(deletes, route.Key{Dst: dst})
		}
	}
	t.changed = map[netip.Prefix]bool{}
	return upserts, deletes
}

// Changed reports whether Changes would return anything.
func (t *Table) Changed() bool { return len(t.changed) > 0 }

// Routes returns all desired routes, by destination.
func (t *Table) Routes() []route.Route {
	all := make([]route.Route, 0, len(t.network)+len(t.claims))
	for dst := range t.network {
		r, _ := t.route(dst)
		all = append(all, r)
	}
	for addr := range t.claims {
		if _, has := t.network[hostPrefix(addr)]; !has {
			r, _ := t.route(hostPrefix(addr))
			all = append(all, r)
		}
	}
	slices.SortFunc(all, byDestination)
	return all
}

func byDestination(a, b route.Route) int {
	return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Dst.Bits(), b.Dst.Bits()))
}

// Problems returns the addresses of workloads that cannot be reached because another one has them, sorted.
func (t *Table) Problems() []string {
	var problems []string
	for _, addr := range slices.SortedFunc(maps.Keys(t.shared), netip.Addr.Compare) {
		owner := t.claims[addr][0]
		for _, w := range t.claims[addr][1:] {
			problems = append(problems, fmt.Sprintf(
				"pod %s (%s) gets no route: its address %s is that of pod %s (%s); make one of them anew",
				w.Name, w.Interface, addr, owner.Name, owner.Interface))
		}
	}
	slices.Sort(problems)
	return problems
}
