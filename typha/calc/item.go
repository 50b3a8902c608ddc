package calc

import (
	"cmp"
	"strings"
	"unique"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// resourceName names a resource within its kind; the namespace is empty for one that is in none.
type resourceName struct{ namespace, name string }

// itemKind is what an item is made from.
type itemKind uint8

const (
	itemPod itemKind = iota
	itemWorkload
	itemHost
	itemSet  // a NetworkSet, or in no namespace a GlobalNetworkSet
	itemNode // selected by ClusterNetworkPolicies alone, never by its labels as an endpoint
)

// itemKey names an item.
type itemKey struct {
	kind itemKind
	resourceName
}

func compareItemKeys(a, b itemKey) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
}

// item is what selectors select: an endpoint, a network set or a node. What they see of it is its class.
type item struct {
	name  string
	space *space
	class *class // nil while it cannot be selected: a pod of the host network, one that ended, or nothing any more
	at    int32  // in class.items
	kind  itemKind

	dirty   bool // it is in Engine.dirty: its endpoint has to be decided again
	gone    bool // there is no resource any more
	counted bool // its node is counted for what its class needs

	nets   compact.Networks // its addresses and networks; each is in Engine.nets
	node   nodeName         // where its endpoint is
	sent   handed           // its endpoint
	detail any              // *podDetail, *v3.HostEndpointSpec or *v3.WorkloadEndpointSpec
}

func (it *item) resourceName() resourceName { return resourceName{it.space.name, it.name} }

func (it *item) key() itemKey { return itemKey{it.kind, it.resourceName()} }

// isEndpoint reports whether policies apply to it.
func (it *item) isEndpoint() bool { return it.kind <= itemHost && it.node.known() && it.class != nil }

// expected says that blocks attribute addresses to it, be it there or not.
func (it *item) expected() bool {
	p, is := it.detail.(*podDetail)
	return is && p.attributed != ""
}

// selectedBy reports whether a selector selects it, as of the last Flush.
func (it *item) selectedBy(s *selector) bool { return it.class != nil && it.class.selectedBy(s) }

// nodeName is the name of a node, which exists once; the zero value is none.
type nodeName struct{ handle unique.Handle[string] }

func nodeNamed(name string) nodeName {
	if name == "" {
		return nodeName{}
	}
	return nodeName{unique.Make(name)}
}

func (n nodeName) known() bool { return n != nodeName{} }

func (n nodeName) String() string {
	if !n.known() {
		return ""
	}
	return n.handle.Value()
}

// item returns the item of a resource, which it makes if need be.
func (e *Engine) item(key itemKey) *item {
	it := e.items.Get(key)
	if it == nil {
		it = &item{kind: key.kind, name: strings.Clone(key.name), space: e.acquireSpace(key.namespace)}
		e.items.Add(it)
	}
	it.gone = false
	return it
}

// mark notes that the item's endpoint has to be decided again at the next Flush.
func (e *Engine) mark(it *item) {
	if !it.dirty {
		it.dirty = true
		e.dirty = append(e.dirty, it)
	}
}

// removeItem takes an item out; Flush forgets it.
func (e *Engine) removeItem(key itemKey) {
	if it := e.items.Get(key); it != nil && !it.gone {
		it.gone = true
		e.classify(it, nil)
		e.setNets(it, "")
		e.mark(it)
	}
}

// forget undoes item.
func (e *Engine) forget(it *item) {
	e.items.Remove(it)
	e.releaseSpace(it.space)
}

// moveTo puts the item on a node, or with the zero value on none.
func (e *Engine) moveTo(it *item, node nodeName) {
	if it.node != node {
		e.uncount(it)
		it.node = node
		e.mark(it)
	}
}

// setNets makes these the networks of an item.
func (e *Engine) setNets(it *item, now compact.Networks) {
	before := it.nets
	if before == now {
		return
	}
	for net := range before.All {
		if !now.Has(net) {
			e.noteNet(it.class, net)
			e.nets.remove(net, it)
		}
	}
	for net := range now.All {
		if !before.Has(net) {
			e.noteNet(it.class, net)
		}
	}
	it.nets = now
	if it.class != nil {
		e.grow(it.class, now.Len()-before.Len())
	}
	for net := range now.All {
		if !before.Has(net) {
			e.nets.add(net, it)
		}
	}
}
