package calc

import (
	"cmp"
	"net/netip"
	"strings"
)

// addresses decide which pod owns an address. At any time that is one pod at most: the one
// to which an IPAM block attributes it; where no block has the address, the latest living pod
// whose status names it.
type addresses struct {
	attributed map[netip.Addr]attribution
	byPod      map[podKey][]netip.Addr // the reverse of attributed
	// others are the pods whose status names an address that they do not own.
	others  map[netip.Addr][]*item
	blocks  map[netip.Prefix]int // covering prefixes, counted
	lengths map[int]int          // their prefix lengths (of 128 bits), counted
}

// attribution is what a block says of one allocated address; pod is empty for one that
// serves something else.
type attribution struct {
	pod  podKey
	uid  string // empty if the block does not say
	node string
}

func newAddresses() addresses {
	return addresses{
		attributed: map[netip.Addr]attribution{},
		byPod:      map[podKey][]netip.Addr{},
		others:     map[netip.Addr][]*item{},
		blocks:     map[netip.Prefix]int{},
		lengths:    map[int]int{},
	}
}

// claim takes in the addresses of a pod's status, none when it is gone, and settles all that concern the pod.
func (a *addresses) claim(e *Engine, it *item, now nets) {
	p := it.detail.(*podDetail)
	before := p.claims
	for net := range before.each {
		a.disclaim(net.Addr(), it)
	}
	p.claims = now
	for net := range now.each {
		if a.owner(e, net.Addr()) != it {
			a.others[net.Addr()] = append(a.others[net.Addr()], it)
		}
	}
	for net := range before.each {
		a.settle(e, net.Addr())
	}
	for net := range now.each {
		a.settle(e, net.Addr())
	}
	for _, addr := range a.byPod[it.podKey()] {
		a.settle(e, addr)
	}
	if p.claims == it.nets { // as nearly always: one copy is enough
		p.claims = it.nets
	}
}

// owner gives the pod that owns an address, as it was decided last.
func (a *addresses) owner(e *Engine, addr netip.Addr) *item {
	var owner *item
	e.nets.any(netip.PrefixFrom(addr, addr.BitLen()), func(it *item) bool {
		if it.kind == itemPod {
			owner = it
		}
		return owner != nil
	})
	return owner
}

func (a *addresses) disclaim(addr netip.Addr, it *item) {
	if a.others[addr] = without(a.others[addr], it); len(a.others[addr]) == 0 {
		delete(a.others, addr)
	}
}

// attribute notes what a block says of an address; ok is false when it is not allocated.
func (a *addresses) attribute(e *Engine, addr netip.Addr, to attribution, ok bool) {
	if was, had := a.attributed[addr]; had && was.pod.name != "" {
		if a.byPod[was.pod] = without(a.byPod[was.pod], addr); len(a.byPod[was.pod]) == 0 {
			delete(a.byPod, was.pod)
		}
	}
	if ok {
		a.attributed[addr] = to
		if to.pod.name != "" {
			a.byPod[to.pod] = append(a.byPod[to.pod], addr)
		}
	} else {
		delete(a.attributed, addr)
	}
	a.settle(e, addr)
}

// cover changes the count of blocks with a CIDR by n. The caller settles the addresses in it.
func (a *addresses) cover(cidr netip.Prefix, n int) {
	length := cidr.Bits()
	if cidr.Addr().Is4() {
		length += 96
	}
	if a.blocks[cidr] += n; a.blocks[cidr] == 0 {
		delete(a.blocks, cidr)
	}
	if a.lengths[length] += n; a.lengths[length] == 0 {
		delete(a.lengths, length)
	}
}

func (a *addresses) covered(addr netip.Addr) bool {
	for length := range a.lengths {
		if addr.Is4() {
			length -= 96
		}
		if p, err := addr.Prefix(length); err == nil && a.blocks[p] > 0 {
			return true
		}
	}
	return false
}

// settle decides again who owns an address.
func (a *addresses) settle(e *Engine, addr netip.Addr) {
	was := a.owner(e, addr)
	now := a.decide(e, addr, was)
	if now == was {
		return
	}
	net := netip.PrefixFrom(addr, addr.BitLen())
	if was != nil {
		e.setNets(was, was.nets.less(net))
		if was.claims(addr) {
			a.others[addr] = append(a.others[addr], was)
		}
	}
	if now != nil {
		e.setNets(now, now.nets.with(net))
		a.disclaim(addr, now)
	}
}

func (a *addresses) decide(e *Engine, addr netip.Addr, owner *item) *item {
	if to, ok := a.attributed[addr]; ok {
		it := e.items.get(itemKey{itemPod, to.pod})
		if it == nil || it.class == nil || to.uid != "" && to.uid != it.detail.(*podDetail).uid.String() {
			return nil
		}
		return it
	}
	if a.covered(addr) {
		return nil // released: the status is out of date
	}
	best := owner
	if best != nil && !(best.class != nil && best.claims(addr)) {
		best = nil
	}
	for _, it := range a.others[addr] {
		if it.class != nil && (best == nil || laterThan(it, best)) {
			best = it
		}
	}
	return best
}

// claims says whether a pod's status names an address.
func (it *item) claims(addr netip.Addr) bool {
	return it.detail.(*podDetail).claims.has(netip.PrefixFrom(addr, addr.BitLen()))
}

// laterThan orders pods that claim the same address.
func laterThan(a, b *item) bool {
	p, q := a.detail.(*podDetail), b.detail.(*podDetail)
	return cmp.Or(cmp.Compare(p.rank, q.rank), strings.Compare(p.uid.String(), q.uid.String()), compareItemKeys(a.key(), b.key())) > 0
}
