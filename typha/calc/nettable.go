package calc

import (
	"hash/maphash"
	"net/netip"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// netTable says which items have a network. Nearly always that is one.
type netTable struct {
	compact.ByHash[*item]
	hash func(netip.Prefix) uint64
	bits [2][129]int // how many networks of items have a length, of IPv4 and IPv6
}

func newNetTable(seed maphash.Seed) netTable {
	hash := func(net netip.Prefix) uint64 { return maphash.Comparable(seed, net) }
	return netTable{ByHash: compact.NewByHash[*item](), hash: hash}
}

func (t *netTable) count(net netip.Prefix) *int {
	family := 0
	if net.Addr().Is6() {
		family = 1
	}
	return &t.bits[family][net.Bits()]
}

func (t *netTable) add(net netip.Prefix, it *item) {
	*t.count(net)++
	t.Put(t.hash(net), it)
}

func (t *netTable) remove(net netip.Prefix, it *item) {
	*t.count(net)--
	t.Drop(t.hash(net), it)
}

// any reports whether the condition holds for an item that has exactly this network.
func (t *netTable) any(net netip.Prefix, holds func(*item) bool) bool {
	return t.Any(t.hash(net), func(it *item) bool { return it.nets.Has(net) && holds(it) })
}

// containing passes every item that has a network with the address in it.
func (t *netTable) containing(addr netip.Addr, visit func(*item)) {
	for bits := 0; bits <= addr.BitLen(); bits++ {
		net, err := addr.Prefix(bits)
		if err != nil {
			return // it has a zone
		}
		if *t.count(net) > 0 {
			t.any(net, func(it *item) bool { visit(it); return false })
		}
	}
}
