package calc

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// addresses decide which pod owns an address. At any time that is one pod at most: the one
// to which an IPAM block attributes it; where no block has the address, the latest living pod
// whose status names it.
type addresses struct {
	attributed map[netip.Addr]attribution
	byPod      map[podKey]map[netip.Addr]struct{} // the reverse of attributed
	claims     map[netip.Addr]map[*pod]struct{}   // by status.podIPs
	owners     map[netip.Addr]*pod
	blocks     map[netip.Prefix]int // covering prefixes, counted
	lengths    map[int]int          // their prefix lengths (of 128 bits), counted
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
		byPod:      map[podKey]map[netip.Addr]struct{}{},
		claims:     map[netip.Addr]map[*pod]struct{}{},
		owners:     map[netip.Addr]*pod{},
		blocks:     map[netip.Prefix]int{},
		lengths:    map[int]int{},
	}
}

// claim takes in the addresses of a pod's status and settles all that concern the pod.
func (a *addresses) claim(e *Engine, p *pod, before []netip.Addr) {
	for _, addr := range before {
		a.unclaim(addr, p)
	}
	for _, addr := range p.claims {
		if a.claims[addr] == nil {
			a.claims[addr] = map[*pod]struct{}{}
		}
		a.claims[addr][p] = struct{}{}
	}
	a.settlePod(e, p, before)
}

// disclaim takes a pod's claims out; the pod must be unknown to the engine by now.
func (a *addresses) disclaim(e *Engine, p *pod) {
	for _, addr := range p.claims {
		a.unclaim(addr, p)
	}
	a.settlePod(e, p, nil)
}

func (a *addresses) unclaim(addr netip.Addr, p *pod) {
	delete(a.claims[addr], p)
	if len(a.claims[addr]) == 0 {
		delete(a.claims, addr)
	}
}

func (a *addresses) settlePod(e *Engine, p *pod, more []netip.Addr) {
	for _, addr := range slices.Concat(more, p.claims) {
		a.settle(e, addr)
	}
	for addr := range a.byPod[p.key] {
		a.settle(e, addr)
	}
}

// attribute notes what a block says of an address; ok is false when it is not allocated.
func (a *addresses) attribute(e *Engine, addr netip.Addr, to attribution, ok bool) {
	if was, had := a.attributed[addr]; had {
		delete(a.byPod[was.pod], addr)
		if len(a.byPod[was.pod]) == 0 {
			delete(a.byPod, was.pod)
		}
	}
	if ok {
		a.attributed[addr] = to
		if to.pod.name != "" {
			if a.byPod[to.pod] == nil {
				a.byPod[to.pod] = map[netip.Addr]struct{}{}
			}
			a.byPod[to.pod][addr] = struct{}{}
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
	now, was := a.decide(e, addr), a.owners[addr]
	if now == was {
		return
	}
	if was != nil {
		was.addrs = slices.DeleteFunc(was.addrs, func(x netip.Addr) bool { return x == addr })
		e.touchSets(was)
		delete(a.owners, addr)
	}
	if now != nil {
		now.addrs = append(now.addrs, addr)
		e.touchSets(now)
		a.owners[addr] = now
	}
}

func (a *addresses) decide(e *Engine, addr netip.Addr) *pod {
	if to, ok := a.attributed[addr]; ok {
		p := e.pod(to.pod)
		if p == nil || !p.eligible() || to.uid != "" && to.uid != p.uid {
			return nil
		}
		return p
	}
	if a.covered(addr) {
		return nil // released: the status is out of date
	}
	var best *pod
	for p := range a.claims[addr] {
		if p.eligible() && (best == nil || p.laterThan(best)) {
			best = p
		}
	}
	return best
}

// laterThan orders pods that claim the same address.
func (p *pod) laterThan(q *pod) bool {
	if p.terminating != q.terminating {
		return q.terminating
	}
	return cmp.Or(cmp.Compare(p.created, q.created), strings.Compare(p.uid, q.uid),
		strings.Compare(p.key.namespace, q.key.namespace), strings.Compare(p.key.name, q.key.name)) > 0
}
