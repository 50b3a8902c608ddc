package calc

import (
	"hash/maphash"
	"net/netip"
	"slices"
)

// netTable says which items have a network. Nearly always that is one.
type netTable struct {
	hashed[*item]
	hash func(netip.Prefix) uint64
	bits [2][129]int // how many networks of items have a length, of IPv4 and IPv6
}

func newNetTable(seed maphash.Seed) netTable {
	return netTable{hashed: newHashed[*item](), hash: func(net netip.Prefix) uint64 { return maphash.Comparable(seed, net) }}
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
	t.put(t.hash(net), it)
}

func (t *netTable) remove(net netip.Prefix, it *item) {
	*t.count(net)--
	t.take(t.hash(net), it)
}

// any reports whether the condition holds for an item that has exactly this network.
func (t *netTable) any(net netip.Prefix, holds func(*item) bool) bool {
	hash := t.hash(net)
	has := func(it *item) bool { return it.nets.has(net) && holds(it) }
	first := t.first[hash]
	return first != nil && (has(first) || slices.ContainsFunc(t.others(hash), has))
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
