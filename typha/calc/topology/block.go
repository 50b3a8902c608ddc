package topology

import (
	"net/netip"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/wire"
)

// block is an IPAMBlock that can be read. blockuse.go decides whether it is used.
type block struct {
	name    string
	cidr    netip.Prefix
	created int64  // Unix seconds; the API server sets it, and it never changes
	node    string // the block's routes lead to it; empty if the block belongs to no node
	damage  string // why IPAM assigns no addresses from it; empty if it does
	used    bool
	// allocations are those of a block that is not used. Those of a block that is used are in the owner.Table.
	allocations []owner.Allocation
}

// SetBlock adds or changes an IPAMBlock. The error says why the block cannot be read; then there is no block of that
// name. Changes.Blocks has what is wrong with a block that can be read.
func (t *Topology) SetBlock(o *v3.IPAMBlock) error {
	b, err := blockOf(o)
	if err != nil {
		t.DeleteBlock(o.Name)
		return err
	}
	before := t.blocks[o.Name]
	if before != nil && before.created != b.created { // the block was deleted and created again
		t.DeleteBlock(o.Name)
		before = nil
	}
	t.blocks[o.Name] = b
	region := regionOf(b.cidr)
	if before == nil || before.damage != b.damage {
		t.changedRegions[region] = struct{}{}
	}
	switch {
	case before == nil:
		t.regions[region] = append(t.regions[region], b.name)
	case before.used:
		t.removeRoutes(before)
		b.used = true
		t.give(b)
		t.setRoutes(b)
	}
	return nil
}

// DeleteBlock removes an IPAMBlock.
func (t *Topology) DeleteBlock(name string) {
	b := t.blocks[name]
	if b == nil {
		return
	}
	delete(t.blocks, name)
	region := regionOf(b.cidr)
	others := compact.Without(t.regions[region], name)
	if len(others) == 0 {
		delete(t.regions, region)
	} else {
		t.regions[region] = others
	}
	if b.used {
		t.disuse(b)
	}
	t.changedRegions[region] = struct{}{}
}

// blockOf reads a block. Its range is what the name says. IPAM assigns no addresses from a damaged block, but the
// addresses that the block gave stay in use as far as they can be read.
func blockOf(o *v3.IPAMBlock) (*block, error) {
	cidr, ok := v3.BlockCIDR(o.Name)
	if !ok {
		return nil, o.Damage()
	}
	size := 1 << (cidr.Addr().BitLen() - cidr.Bits())
	b := &block{name: o.Name, cidr: cidr, created: o.CreationTimestamp.Unix(), allocations: allocationsOf(o, size)}
	if err := o.Damage(); err != nil {
		b.damage = err.Error()
	}
	b.node, ok = strings.CutPrefix(o.Spec.Affinity, "host:")
	if !ok { // "virtual:…"
		b.node = ""
	}
	return b, nil
}

// allocationsOf returns the allocations in a block of some size.
func allocationsOf(o *v3.IPAMBlock, size int) []owner.Allocation {
	list := make([]owner.Allocation, 0, max(0, len(o.Spec.Allocations)-len(o.Spec.Unallocated)))
	for index, attribute := range o.Spec.Allocations[:min(size, len(o.Spec.Allocations))] {
		if attribute == nil {
			continue
		}
		a := owner.Allocation{Index: uint16(index)}
		i := *attribute
		if i >= 0 && i < len(o.Spec.Attributes) && o.Spec.Attributes[i].ReleasedAt == nil {
			attributes := o.Spec.Attributes[i].ActiveOwnerAttrs
			a.Node = attributes[v3.AttributeNode]
			if name := attributes[v3.AttributePod]; name != "" {
				a.Pod = owner.Name{Namespace: attributes[v3.AttributeNamespace], Name: name}
				a.UID = owner.PackUID(attributes[v3.AttributeUID])
			}
		}
		list = append(list, a)
	}
	return list
}

// give gives a block's allocations to the owner.Table.
func (t *Topology) give(b *block) {
	for _, addr := range t.owners.SetBlock(b.cidr, b.allocations) {
		t.tunnelChanged(addr)
	}
	b.allocations = nil
}

// takeBack is the reverse of give.
func (t *Topology) takeBack(b *block) {
	b.allocations = t.owners.RemoveBlock(b.cidr)
	for _, a := range b.allocations {
		t.tunnelChanged(a.Addr(b.cidr))
	}
}

// routes returns the routes of a block that is used: to its node, and for each address that another node has.
func (t *Topology) routes(b *block, pool string) []*wire.Route {
	var routes []*wire.Route
	if b.node != "" {
		routes = append(routes, &wire.Route{Dst: b.cidr, Node: b.node, Pool: pool})
	}
	for a := range t.owners.Allocations(b.cidr) {
		if a.Node != "" && a.Node != b.node {
			addr := a.Addr(b.cidr)
			routes = append(routes, &wire.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Node: a.Node, Pool: pool})
		}
	}
	return routes
}

func (t *Topology) setRoutes(b *block) {
	for _, r := range t.routes(b, t.pools.covering(b.cidr)) {
		t.set(r)
	}
}

func (t *Topology) removeRoutes(b *block) {
	for _, r := range t.routes(b, "") {
		t.remove(r.ID())
	}
}
