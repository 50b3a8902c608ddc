package calc

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"unique"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// podKey names a namespaced resource.
type podKey struct{ namespace, name string }

// itemKind is what an item is made from.
type itemKind uint8

const (
	itemPod itemKind = iota
	itemWorkload
	itemHost
	itemSet  // a NetworkSet, or in no namespace a GlobalNetworkSet
	itemNode // selected by ClusterNetworkPolicies alone, never by its labels as an endpoint
	itemKindCount
)

// itemKey names an item.
type itemKey struct {
	kind itemKind
	podKey
}

func compareItemKeys(a, b itemKey) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
}

// item is what selectors select: an endpoint, a network set or a node. Its own labels are packed; what it inherits
// stays with its place.
type item struct {
	key    itemKey
	place  *place
	at     int32 // in place.items
	dirty  dirt
	gone   bool // no resource any more
	absent bool // there is a resource, but it cannot be selected: a pod of the host network or one that ended

	labels  unique.Handle[labels] // pods of one application have the same
	ports   string                // packed
	nets    []netip.Prefix        // its addresses and networks; each is in Engine.nets
	matches []match               // as of the last Flush, sorted by number

	node    string // where its endpoint is; empty: nowhere
	counted counted
	sent    handed // its endpoint
	detail  any    // *podDetail, *v3.HostEndpointSpec or *v3.WorkloadEndpointSpec
}

// dirt says what of an item has to be decided again.
type dirt uint8

const (
	dirtyListed   dirt = 1 << iota // it is in Engine.dirty
	dirtyMatches                   // which selectors select it
	dirtyStack                     // which policies apply
	dirtyEndpoint                  // its endpoint object
)

// isEndpoint says whether policies apply to it.
func (it *item) isEndpoint() bool { return it.key.kind <= itemHost && it.node != "" && it.selectable() }

func (it *item) selectable() bool { return !it.gone && !it.absent }

// Get implements selector.Labels: its own labels, what follows from its place, and what its profiles give it.
func (it *item) Get(name string) (string, bool) {
	switch name {
	case v3.LabelNamespace:
		return it.place.namespace, it.place.namespace != ""
	case v3.LabelServiceAccount:
		return it.place.account, it.place.account != ""
	case v3.LabelOrchestrator:
		return it.place.orchestrator, it.place.orchestrator != ""
	}
	if v, ok := it.labels.Value().Get(name); ok {
		return v, true
	}
	for _, p := range it.place.profiles {
		if v, ok := p.labels.Get(name); ok {
			return v, true
		}
	}
	return "", false
}

var noLabels = unique.Make(labels(""))

// item gives the item of a resource, which it makes if need be.
func (e *Engine) item(key itemKey) *item {
	it := e.items[key.kind][key.podKey]
	if it == nil {
		if there := e.places[key.namespace]; len(there) > 0 {
			key.namespace = there[0].namespace
		} else {
			key.namespace = strings.Clone(key.namespace)
		}
		key.name = strings.Clone(key.name)
		it = &item{key: key, labels: noLabels}
		e.items[key.kind][key.podKey] = it
	}
	it.gone = false
	return it
}

// mark notes that something about the item has to be decided again at the next Flush.
func (e *Engine) mark(it *item, d dirt) {
	if it.dirty == 0 {
		e.dirty = append(e.dirty, it)
		d |= dirtyListed
	}
	it.dirty |= d
}

// removeItem takes an item out; Flush forgets it.
func (e *Engine) removeItem(key itemKey) {
	it := e.items[key.kind][key.podKey]
	if it == nil || it.gone {
		return
	}
	it.gone = true
	e.setNets(it, nil)
	e.mark(it, dirtyMatches|dirtyStack|dirtyEndpoint)
}

// setLabels takes in what decides on selection, and says whether it differs.
func (e *Engine) setLabels(it *item, own map[string]string, to placeSpec) {
	l := unique.Make(pack(own))
	if p := e.placeOf(it, to); p != it.place {
		e.moveTo(it, p)
		e.mark(it, dirtyMatches|dirtyEndpoint)
	}
	if l != it.labels {
		it.labels = l
		e.mark(it, dirtyMatches)
	}
}

// setPorts takes in packed ports.
func (e *Engine) setPorts(it *item, ports string) {
	if it.ports == ports {
		return
	}
	for _, net := range it.nets {
		e.noteNet(it, net, true)
	}
	before := it.ports
	it.ports = ports
	for _, net := range it.nets {
		e.noteGained(it, net, before)
	}
}

// setNets makes these the networks of an item; they are without duplicates.
func (e *Engine) setNets(it *item, nets []netip.Prefix) {
	if slices.Equal(it.nets, nets) {
		return
	}
	for _, net := range it.nets {
		if !slices.Contains(nets, net) {
			e.noteNet(it, net, false)
			e.nets.remove(net, it)
		}
	}
	before := it.nets
	it.nets = nets
	for _, net := range nets {
		if !slices.Contains(before, net) {
			e.noteNet(it, net, false)
			e.nets.add(net, it)
		}
	}
}

// gain gives an item one more network, lose takes one.
func (e *Engine) gain(it *item, net netip.Prefix) {
	e.noteNet(it, net, false)
	it.nets = append(it.nets, net)
	e.nets.add(net, it)
}

func (e *Engine) lose(it *item, net netip.Prefix) {
	e.noteNet(it, net, false)
	it.nets = slices.DeleteFunc(it.nets, func(n netip.Prefix) bool { return n == net })
	e.nets.remove(net, it)
}

// netTable says which items have a network. Nearly always that is one.
type netTable struct {
	first map[netip.Prefix]*item
	more  map[netip.Prefix][]*item
	bits  [2][129]int // how many networks have a length, of IPv4 and IPv6
}

func newNetTable() netTable {
	return netTable{first: map[netip.Prefix]*item{}, more: map[netip.Prefix][]*item{}}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func (t *netTable) add(net netip.Prefix, it *item) {
	if t.first[net] != nil {
		t.more[net] = append(t.more[net], it)
		return
	}
	t.first[net] = it
	t.bits[family(net.Addr())][net.Bits()]++
}

func (t *netTable) remove(net netip.Prefix, it *item) {
	others := t.more[net]
	if t.first[net] == it {
		if len(others) == 0 {
			delete(t.first, net)
			t.bits[family(net.Addr())][net.Bits()]--
			return
		}
		t.first[net], others = others[len(others)-1], others[:len(others)-1]
	} else {
		others = slices.DeleteFunc(others, func(o *item) bool { return o == it })
	}
	if len(others) == 0 {
		delete(t.more, net)
	} else {
		t.more[net] = others
	}
}

// any says whether the condition holds for an item that has exactly this network.
func (t *netTable) any(net netip.Prefix, holds func(*item) bool) bool {
	first := t.first[net]
	if first == nil {
		return false
	}
	if holds(first) {
		return true
	}
	return slices.ContainsFunc(t.more[net], holds)
}

// containing passes every item that has a network with the address in it.
func (t *netTable) containing(addr netip.Addr, visit func(*item)) {
	for bits, n := range t.bits[family(addr)] {
		if n == 0 {
			continue
		}
		net, err := addr.Prefix(bits)
		if err != nil {
			return // longer than the family has
		}
		t.any(net, func(it *item) bool { visit(it); return false })
	}
}
