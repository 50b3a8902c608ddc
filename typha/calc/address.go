package calc

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
)

// addresses decide which pod owns an address. At any time that is one pod at most: the one
// to which an IPAM block attributes it; where no block has the address, the latest living pod
// whose status names it.
type addresses struct {
	// others are the pods whose status names an address that they do not own.
	others  map[netip.Addr][]*item
	blocks  map[netip.Prefix]*block
	lengths map[int]int // their prefix lengths (of 128 bits), counted
}

func newAddresses() addresses {
	return addresses{others: map[netip.Addr][]*item{}, blocks: map[netip.Prefix]*block{}, lengths: map[int]int{}}
}

// claim takes in the addresses of a pod's status, none when it is gone, and settles all that concern the pod.
func (a *addresses) claim(e *Engine, it *item, now compact.Networks) {
	p := it.detail.(*podDetail)
	before := p.claims
	for net := range before.All {
		a.disclaim(net.Addr(), it)
	}
	p.claims = now
	for net := range now.All {
		if a.owner(e, net.Addr()) != it {
			a.others[net.Addr()] = append(a.others[net.Addr()], it)
		}
	}
	for net := range before.All {
		a.settle(e, net.Addr())
	}
	for net := range now.All {
		a.settle(e, net.Addr())
	}
	for net := range p.attributed.All {
		a.settle(e, net.Addr())
	}
	if p.claims == it.Networks() { // as nearly always: one copy is enough
		p.claims = it.Networks()
	}
}

// owner returns the pod that owns an address, as it was decided last.
func (a *addresses) owner(e *Engine, addr netip.Addr) *item {
	var owner *item
	e.index.AnyWith(netip.PrefixFrom(addr, addr.BitLen()), func(it *labelindex.Item) bool {
		if it.Kind() == labelindex.Pod {
			owner = itemOf(it)
		}
		return owner != nil
	})
	return owner
}

func (a *addresses) disclaim(addr netip.Addr, it *item) {
	if a.others[addr] = compact.Without(a.others[addr], it); len(a.others[addr]) == 0 {
		delete(a.others, addr)
	}
}

// cover takes in a block, or its next state, or takes it out. The caller settles the addresses in it.
func (a *addresses) cover(b *block, in bool) {
	length := b.cidr.Bits() + 128 - b.cidr.Addr().BitLen()
	if in {
		if a.blocks[b.cidr] == nil {
			a.lengths[length]++
		}
		a.blocks[b.cidr] = b
		return
	}
	delete(a.blocks, b.cidr)
	if a.lengths[length]--; a.lengths[length] == 0 {
		delete(a.lengths, length)
	}
}

// attributed returns what blocks say of an address, the smallest that has it allocated; covered says that there is one
// at all.
func (a *addresses) attributed(addr netip.Addr) (to attribution, allocated, covered bool) {
	smallest := 0
	for length := range a.lengths {
		net, err := addr.Prefix(length - 128 + addr.BitLen())
		if err != nil {
			continue // of the other family
		}
		b := a.blocks[net]
		if b == nil {
			continue
		}
		covered = true
		if found, ok := b.find(addr); ok && length > smallest {
			to, allocated, smallest = found, true, length
		}
	}
	return to, allocated, covered
}

// settle decides again who owns an address.
func (a *addresses) settle(e *Engine, addr netip.Addr) {
	for _, n := range e.tunnels.named[addr] {
		e.decideTunnels(n)
	}
	was := a.owner(e, addr)
	now := a.decide(e, addr, was)
	if now == was {
		return
	}
	net := netip.PrefixFrom(addr, addr.BitLen())
	if was != nil {
		e.setNets(was, was.Networks().Without(net))
		if was.claims(addr) {
			a.others[addr] = append(a.others[addr], was)
		}
	}
	if now != nil {
		e.setNets(now, now.Networks().With(net))
		a.disclaim(addr, now)
	}
}

func (a *addresses) decide(e *Engine, addr netip.Addr, owner *item) *item {
	switch to, allocated, covered := a.attributed(addr); {
	case allocated:
		// A node assigns addresses only to its own pods: an allocation for another node's pod is ignored.
		if it := to.pod; it != nil && it.Group() != nil && (to.uid == "" || to.uid == it.detail.(*podDetail).uid) &&
			(!to.node.known() || to.node == it.node) {
			return it
		}
		return nil
	case covered:
		return nil // released: the status is out of date
	}
	best := owner
	if best != nil && !(best.Group() != nil && best.claims(addr)) {
		best = nil
	}
	for _, it := range a.others[addr] {
		if it.Group() != nil && (best == nil || laterThan(it, best)) {
			best = it
		}
	}
	return best
}

// claims reports whether a pod's status names an address.
func (it *item) claims(addr netip.Addr) bool {
	return it.detail.(*podDetail).claims.Has(netip.PrefixFrom(addr, addr.BitLen()))
}

// laterThan orders pods that claim the same address.
func laterThan(a, b *item) bool {
	p, q := a.detail.(*podDetail), b.detail.(*podDetail)
	return cmp.Or(cmp.Compare(p.rank, q.rank), strings.Compare(p.uid.String(), q.uid.String()),
		labelindex.CompareKeys(a.Key(), b.Key())) > 0
}
