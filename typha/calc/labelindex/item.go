package labelindex

import (
	"cmp"
	"strings"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// Kind is what an item is made from.
type Kind uint8

// The kinds of items. Policies apply to those up to Host, which are endpoints.
const (
	Pod Kind = iota
	Workload
	Host
	NetworkSet // in no namespace: a GlobalNetworkSet
	Node       // selected by selectors of spec.Nodes alone
)

// IsEndpoint reports whether items of the kind are endpoints.
func (k Kind) IsEndpoint() bool { return k <= Host }

// Key names an item.
type Key struct {
	Kind            Kind
	Namespace, Name string // the namespace is empty for an item in none
}

// CompareKeys orders keys by kind, namespace and name.
func CompareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// Item is something that selectors can select. Whoever adds it to the index makes it, as a part of a larger struct, and
// sets Value.
type Item struct {
	// Value and Flags belong to whoever made the item. The index does not use them. Flags takes no memory of its own.
	Value any
	Flags uint8

	kind      Kind
	at        int32 // group.items[at] is the item, while there is a group
	group     *Group
	namespace *namespace
	name      string
	networks  compact.Networks // for each, Index.networks has the item
}

// Key returns the key of the item.
func (it *Item) Key() Key { return Key{it.kind, it.namespace.name, it.name} }

// Kind returns what the item is made from.
func (it *Item) Kind() Kind { return it.kind }

// Name returns the name of the item within its namespace.
func (it *Item) Name() string { return it.name }

// Namespace returns the namespace of the item, empty for an item in none.
func (it *Item) Namespace() string { return it.namespace.name }

// Group returns the group of the item. It is nil while no selector can select the item.
func (it *Item) Group() *Group { return it.group }

// Networks returns the addresses and networks of the item.
func (it *Item) Networks() compact.Networks { return it.networks }

// SelectedBy reports whether a selector selects the item, as of the last Flush.
func (it *Item) SelectedBy(s *Selector) bool { return it.group != nil && it.group.SelectedBy(s) }

// Find returns an item, or nil if there is none with this key.
func (x *Index) Find(key Key) *Item { return x.items.Get(key) }

// Add adds an item that has no other content yet than its Value. No other item may have the key. No selector selects
// the item before SetAttributes.
func (x *Index) Add(it *Item, key Key) {
	it.kind, it.name, it.namespace = key.Kind, strings.Clone(key.Name), x.acquireNamespace(key.Namespace)
	x.items.Add(it)
}

// Remove removes an item.
func (x *Index) Remove(it *Item) {
	x.Exclude(it)
	x.SetNetworks(it, "")
	x.items.Remove(it)
	x.releaseNamespace(it.namespace)
}

// Attributes are what selectors see of an item beside its kind and namespace.
type Attributes struct {
	ServiceAccount, Orchestrator string
	// Profiles are the names of the profiles whose labels the item inherits; the first one that has a label decides.
	// They are left out for a pod: its profiles are those of its namespace and of its service account.
	Profiles []string
	Labels   map[string]string // of the item itself
	Ports    Ports
}

// SetAttributes puts an item into the group of the items with these attributes. If the group is new, the next Flush
// matches it.
func (x *Index) SetAttributes(it *Item, a Attributes) { x.move(it, x.groupOf(it, &a)) }

// Exclude takes an item out of its group: no selector selects it any more.
func (x *Index) Exclude(it *Item) { x.move(it, nil) }

// move puts an item into another group, or into none.
func (x *Index) move(it *Item, to *Group) {
	from := it.group
	if from == to {
		return
	}
	if from != nil {
		from.remove(it)
		x.grow(from, -it.networks.Len())
	}
	it.group = to
	if to != nil {
		it.at = int32(len(to.items))
		to.items = append(to.items, it)
		x.grow(to, it.networks.Len())
	}
	for _, o := range x.observers {
		o.ItemMoved(it, from)
	}
	if from != nil && len(from.items) == 0 {
		x.dropGroup(from)
	}
}

// SetNetworks replaces the networks of an item.
func (x *Index) SetNetworks(it *Item, now compact.Networks) {
	before := it.networks
	if before == now {
		return
	}
	for net := range before.All {
		if !now.Has(net) {
			x.networks.remove(net, it)
		}
	}
	it.networks = now
	for net := range now.All {
		if !before.Has(net) {
			x.networks.add(net, it)
		}
	}
	if it.group != nil {
		x.grow(it.group, now.Len()-before.Len())
	}
	for _, o := range x.observers {
		o.NetworksChanged(it, before)
	}
}
