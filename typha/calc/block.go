package calc

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/wire"
)

// block is an IPAM block that can be read. Whether it is used is decided in blockuse.go.
type block struct {
	name    string
	cidr    netip.Prefix
	created int64    // Unix seconds, which the API server sets and nobody changes
	host    nodeName // affine node
	damage  string   // why IPAM assigns no addresses from it; empty if it does
	used    bool
	claims  []claim // what it says about its addresses; nil while it is used
	// allocations are the claims while it is used, sorted by ordinal; nil while it is not.
	allocations []attribution
}

// claim is what a block says about one allocated address.
type claim struct {
	ordinal uint16 // of the address in the block
	node    nodeName
	pod     resourceName // zero: it serves something else
	uid     uid          // of the pod; empty if the block does not say
}

// attribution is a claim with the item of its pod.
type attribution struct {
	ordinal uint16
	node    nodeName
	pod     *item // nil: it serves something else
	uid     uid
}

// addr returns the address with an ordinal.
func (b *block) addr(ordinal uint16) netip.Addr {
	octets := b.cidr.Addr().AsSlice()
	last := len(octets) - 1
	octets[last-1] |= byte(ordinal >> 8)
	octets[last] |= byte(ordinal)
	addr, _ := netip.AddrFromSlice(octets)
	return addr
}

// find returns what the block says of an address in it.
func (b *block) find(addr netip.Addr) (attribution, bool) {
	octets, base := addr.AsSlice(), b.cidr.Addr().AsSlice()
	last := len(octets) - 1
	ordinal := uint16(octets[last-1]^base[last-1])<<8 | uint16(octets[last]^base[last])
	i, ok := slices.BinarySearchFunc(b.allocations, ordinal, func(a attribution, o uint16) int { return cmp.Compare(a.ordinal, o) })
	if !ok {
		return attribution{}, false
	}
	return b.allocations[i], true
}

func (e *Engine) upsertBlock(o *v3.IPAMBlock) {
	b, err := blockOf(o)
	if err != nil || o.Spec.Deleted {
		e.deleteBlock(o.Name)
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		e.problems.set(KindIPAMBlock, "", o.Name, reason)
		return
	}
	before := e.blocks[o.Name]
	if before != nil && before.created != b.created { // the block was deleted and created again
		e.deleteBlock(o.Name)
		before = nil
	}
	e.blocks[o.Name] = b
	region := regionOf(b.cidr)
	if before == nil || before.damage != b.damage {
		e.dirtyRegions[region] = struct{}{}
	}
	switch {
	case before == nil:
		e.regions[region] = append(e.regions[region], b.name)
	case before.used:
		b.used = true
		e.bind(b)
		e.addresses.cover(b, true)
		e.settleChanges(before, b)
		e.route(before, b)
	}
}

func (e *Engine) deleteBlock(name string) {
	b := e.blocks[name]
	if b == nil {
		return
	}
	delete(e.blocks, name)
	region := regionOf(b.cidr)
	if e.regions[region] = compact.Without(e.regions[region], name); len(e.regions[region]) == 0 {
		delete(e.regions, region)
	}
	if b.used {
		e.disuse(b)
	}
	e.dirtyRegions[region] = struct{}{}
}

// settleClaims decides again on the addresses that only pods' status speaks of.
func (e *Engine) settleClaims(cidr netip.Prefix) {
	for addr := cidr.Addr(); cidr.Contains(addr); addr = addr.Next() {
		e.addresses.settle(e, addr)
	}
}

// settleChanges passes the difference between two states of a block on.
func (e *Engine) settleChanges(before, now *block) {
	was, is := before.allocations, now.allocations
	for len(was)+len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].ordinal < is[0].ordinal:
			e.attribute(before.addr(was[0].ordinal), was[0].pod, nil)
			was = was[1:]
		case len(was) == 0 || is[0].ordinal < was[0].ordinal:
			e.attribute(now.addr(is[0].ordinal), nil, is[0].pod)
			is = is[1:]
		default:
			if was[0] != is[0] {
				e.attribute(now.addr(is[0].ordinal), was[0].pod, is[0].pod)
			}
			was, is = was[1:], is[1:]
		}
	}
}

// attribute notes that an address was one pod's and is another's, nil is none, and settles it.
func (e *Engine) attribute(addr netip.Addr, was, is *item) {
	net := netip.PrefixFrom(addr, addr.BitLen())
	if was != is && is != nil {
		p := is.detail.(*podDetail)
		p.attributed = p.attributed.With(net)
	}
	e.addresses.settle(e, addr)
	if was != is && was != nil {
		p := was.detail.(*podDetail)
		p.attributed = p.attributed.Without(net)
		e.mark(was) // it may have been kept for this alone
	}
}

// blockOf reads a block. The range is what the name says. Damage keeps IPAM from assigning; the addresses that the
// block gave are in use all the same, as far as they can be read.
func blockOf(o *v3.IPAMBlock) (*block, error) {
	cidr, ok := v3.BlockCIDR(o.Name)
	if !ok {
		return nil, o.Damage()
	}
	size := 1 << (cidr.Addr().BitLen() - cidr.Bits())
	b := &block{name: o.Name, cidr: cidr, created: o.CreationTimestamp.Unix(), claims: claimsOf(o, size)}
	if err := o.Damage(); err != nil {
		b.damage = err.Error()
	}
	if host, ok := strings.CutPrefix(o.Spec.Affinity, "host:"); ok { // not "virtual:…"
		b.host = nodeNamed(host)
	}
	return b, nil
}

func claimsOf(o *v3.IPAMBlock, size int) []claim {
	claims := make([]claim, 0, max(0, len(o.Spec.Allocations)-len(o.Spec.Unallocated)))
	for ordinal, index := range o.Spec.Allocations[:min(size, len(o.Spec.Allocations))] {
		if index == nil {
			continue
		}
		c := claim{ordinal: uint16(ordinal)}
		if *index >= 0 && *index < len(o.Spec.Attributes) && o.Spec.Attributes[*index].ReleasedAt == nil {
			owner := o.Spec.Attributes[*index].ActiveOwnerAttrs
			c.node = nodeNamed(owner[v3.AttributeNode])
			if name := owner[v3.AttributePod]; name != "" {
				c.pod, c.uid = resourceName{owner[v3.AttributeNamespace], name}, packUID(owner[v3.AttributeUID])
			}
		}
		claims = append(claims, c)
	}
	return claims
}

// bind turns a block's claims into allocations. An allocation may name a pod that is not known yet.
func (e *Engine) bind(b *block) {
	b.allocations = make([]attribution, len(b.claims))
	for i, c := range b.claims {
		a := attribution{ordinal: c.ordinal, node: c.node, uid: c.uid}
		if c.pod.name != "" {
			a.pod = e.expect(c.pod)
			if known := a.pod.detail.(*podDetail).uid; known == a.uid {
				a.uid = known // share the string
			}
		}
		b.allocations[i] = a
	}
	b.claims = nil
}

// unbind is the reverse of bind.
func (b *block) unbind() {
	b.claims = make([]claim, len(b.allocations))
	for i, a := range b.allocations {
		b.claims[i] = claim{ordinal: a.ordinal, node: a.node, uid: a.uid}
		if a.pod != nil {
			b.claims[i].pod = resourceName{a.pod.Namespace(), a.pod.Name()}
		}
	}
	b.allocations = nil
}

// expect returns the item of a pod, which may be none yet.
func (e *Engine) expect(key resourceName) *item {
	name := labelindex.Key{Kind: labelindex.Pod, Namespace: key.namespace, Name: key.name}
	it := e.findItem(name)
	if it == nil {
		it = e.item(name)
		it.setFlag(itemGone)
		it.detail = &podDetail{}
	}
	return it
}

// routes returns those of a block: to its node, and for each address that a pod of another node has.
func (b *block) routes(pool string) []*wire.Route {
	var routes []*wire.Route
	if b.host.known() {
		routes = append(routes, &wire.Route{Dst: b.cidr, Node: b.host.String(), Pool: pool})
	}
	for _, a := range b.allocations {
		if a.node.known() && a.node != b.host {
			addr := b.addr(a.ordinal)
			routes = append(routes, &wire.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Node: a.node.String(), Pool: pool})
		}
	}
	return routes
}

// route hands the routes of a block out, and takes those of its state before back.
func (e *Engine) route(before, now *block) {
	for _, r := range before.routes("") {
		e.out.remove(r.ID())
	}
	pool := e.pools.covering(now.cidr)
	for _, r := range now.routes(pool) {
		e.out.set(r)
	}
}

func (e *Engine) routeAll() {
	for _, b := range e.blocks {
		if b.used {
			e.route(b, b)
		}
	}
}
