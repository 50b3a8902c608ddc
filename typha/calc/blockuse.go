package calc

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// A block is used if a pool contains it, or may contain it, and no older block that is used overlaps it. The range of a
// pool that cannot be read may be any: see pools. Every node may create blocks. A block
// outside the pools would attract traffic to its node that has nothing to do with the cluster. A smaller block within
// another node's block would attract the traffic of that node's pods. IPAM's clients never create such blocks, and
// assign no addresses from them.

// regionOf returns the range that contains a block and has the size of the largest block. Blocks of different regions
// never overlap.
func regionOf(cidr netip.Prefix) netip.Prefix {
	region, err := cidr.Addr().Prefix(cidr.Addr().BitLen() - v3.MaxBlockBits)
	if err != nil {
		return cidr
	}
	return region
}

// decideBlocks decides again which blocks of a region are used.
func (e *Engine) decideBlocks(region netip.Prefix) {
	blocks := make([]*block, 0, len(e.regions[region]))
	for _, name := range e.regions[region] {
		blocks = append(blocks, e.blocks[name])
	}
	slices.SortFunc(blocks, func(a, b *block) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.name, b.name))
	})
	taken := occupied{map[netip.Prefix]*block{}, map[netip.Prefix]*block{}}
	var found []*block
	for _, b := range blocks {
		reason := ""
		older := taken.by(b.cidr)
		switch {
		case e.pools.covering(b.cidr) == "":
			reason = fmt.Sprintf("spec.cidr: no IPPool contains %s, so the block is not used", b.cidr)
		case older != nil:
			reason = fmt.Sprintf("spec.cidr: %s is in, or contains, the older block %s, so the block is not used", b.cidr, older.name)
		default:
			taken.add(b)
		}
		e.problems.set(KindIPAMBlock, "", b.name, cmp.Or(reason, b.damage))
		switch use := reason == ""; {
		case use && !b.used:
			found = append(found, b)
		case !use && b.used:
			e.disuse(b)
		}
	}
	for _, b := range found {
		e.use(b)
	}
}

// poolsChanged makes this Flush decide on every block again.
func (e *Engine) poolsChanged() {
	for region := range e.regions {
		e.dirtyRegions[region] = struct{}{}
	}
	e.routeAll()
}

// flushBlocks decides which blocks are used. It is not decided earlier because a block may arrive before its pool.
func (e *Engine) flushBlocks() {
	if len(e.dirtyRegions) == 0 {
		return
	}
	for region := range e.dirtyRegions {
		e.decideBlocks(region)
	}
	e.dirtyRegions = map[netip.Prefix]struct{}{}
}

func (e *Engine) use(b *block) {
	b.used = true
	e.bind(b)
	e.addresses.cover(b, true)
	e.settleClaims(b.cidr)
	e.settleChanges(&block{cidr: b.cidr}, b)
	e.route(&block{cidr: b.cidr}, b)
}

func (e *Engine) disuse(b *block) {
	b.used = false
	e.addresses.cover(b, false)
	e.settleClaims(b.cidr)
	e.settleChanges(b, &block{cidr: b.cidr})
	e.route(b, &block{cidr: b.cidr})
	b.unbind()
}

// occupied are blocks that do not overlap. Of two ranges that overlap one contains the other.
type occupied struct {
	blocks map[netip.Prefix]*block
	within map[netip.Prefix]*block // by every larger range up to the largest block's size
}

func (o occupied) add(b *block) {
	o.blocks[b.cidr] = b
	for larger := range larger(b.cidr) {
		o.within[larger] = b
	}
}

// by returns a block that overlaps a range, or nil.
func (o occupied) by(cidr netip.Prefix) *block {
	if b := o.within[cidr]; b != nil {
		return b
	}
	for larger := range larger(cidr) {
		if b := o.blocks[larger]; b != nil {
			return b
		}
	}
	return nil
}

// larger iterates over the larger ranges that contain a range, up to the largest block's size.
func larger(cidr netip.Prefix) func(func(netip.Prefix) bool) {
	return func(yield func(netip.Prefix) bool) {
		for bits := cidr.Bits() - 1; bits >= cidr.Addr().BitLen()-v3.MaxBlockBits; bits-- {
			if around, err := cidr.Addr().Prefix(bits); err != nil || !yield(around) {
				return
			}
		}
	}
}
