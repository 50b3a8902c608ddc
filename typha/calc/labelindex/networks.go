package labelindex

import (
	"hash/maphash"
	"net/netip"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// networkTable finds the items that have a network. Nearly always that is one item.
type networkTable struct {
	compact.ByHash[*Item]
	hash func(netip.Prefix) uint64
	// lengths counts the networks in the table by their length, of IPv4 and of IPv6.
	lengths [2][129]int
}

func newNetworkTable(seed maphash.Seed) networkTable {
	hash := func(net netip.Prefix) uint64 { return maphash.Comparable(seed, net) }
	return networkTable{ByHash: compact.NewByHash[*Item](), hash: hash}
}

// length returns the count of the networks with the same family and length.
func (t *networkTable) length(net netip.Prefix) *int {
	family := 0
	if net.Addr().Is6() {
		family = 1
	}
	return &t.lengths[family][net.Bits()]
}

func (t *networkTable) add(net netip.Prefix, it *Item) {
	*t.length(net)++
	t.Put(t.hash(net), it)
}

func (t *networkTable) remove(net netip.Prefix, it *Item) {
	*t.length(net)--
	t.Drop(t.hash(net), it)
}

// AnyWith reports whether the condition holds for an item that has exactly this network.
func (x *Index) AnyWith(net netip.Prefix, holds func(*Item) bool) bool {
	return x.networks.Any(x.networks.hash(net), func(it *Item) bool { return it.networks.Has(net) && holds(it) })
}

// EachContaining calls visit with each item for each of its networks that contains the address.
func (x *Index) EachContaining(addr netip.Addr, visit func(*Item)) {
	for bits := 0; bits <= addr.BitLen(); bits++ {
		net, err := addr.Prefix(bits)
		if err != nil {
			return // it has a zone
		}
		if *x.networks.length(net) > 0 {
			x.AnyWith(net, func(it *Item) bool { visit(it); return false })
		}
	}
}
