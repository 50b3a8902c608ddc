package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// A block is used if a pool contains it, or may contain it, and no older block that is used overlaps it. The range of a
// pool that cannot be read may be any: see pools. Every node may create blocks. A block outside the pools would attract
// traffic to its node that has nothing to do with the cluster. A smaller block within another node's block would
// attract the traffic of that node's pods. IPAM's clients never create such blocks, and assign no addresses from them.

// regionOf returns the range that contains a block and has the size of the largest block. Blocks of different regions
// never overlap.
func regionOf(cidr netip.Prefix) netip.Prefix {
	region, err := cidr.Addr().Prefix(cidr.Addr().BitLen() - v3.MaxBlockBits)
	if err != nil {
		return cidr
	}
	return region
}

// poolsMoved makes Flush decide on every block again.
func (t *Topology) poolsMoved() {
	for region := range t.regions {
		t.changedRegions[region] = struct{}{}
	}
	for _, b := range t.blocks {
		if b.used {
			t.setRoutes(b) // to another pool, perhaps
		}
	}
}

// decideRegion decides which blocks of a region are used. Only Flush calls it, because a block may come before its
// pool.
func (t *Topology) decideRegion(region netip.Prefix) {
	blocks := make([]*block, 0, len(t.regions[region]))
	for _, name := range t.regions[region] {
		blocks = append(blocks, t.blocks[name])
	}
	slices.SortFunc(blocks, func(a, b *block) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.name, b.name))
	})
	var usable bart.Table[*block]
	var found []*block
	for _, b := range blocks {
		reason := ""
		older := overlapping(&usable, b.cidr)
		switch {
		case t.pools.covering(b.cidr) == "":
			reason = fmt.Sprintf("spec.cidr: no IPPool contains %s, so the block is not used", b.cidr)
		case older != nil:
			reason = fmt.Sprintf("spec.cidr: %s is in, or contains, the older block %s, so the block is not used",
				b.cidr, older.name)
		default:
			usable.Insert(b.cidr, b)
		}
		t.changes.Blocks[b.name] = cmp.Or(reason, b.damage)
		switch use := reason == ""; {
		case use && !b.used:
			found = append(found, b)
		case !use && b.used:
			t.disuse(b)
		}
	}
	for _, b := range found { // after those that they overlap
		t.use(b)
	}
}

// overlapping returns a block that overlaps a range, or nil.
func overlapping(blocks *bart.Table[*block], cidr netip.Prefix) *block {
	for _, b := range blocks.Supernets(cidr) {
		return b
	}
	for _, b := range blocks.Subnets(cidr) {
		return b
	}
	return nil
}

func (t *Topology) use(b *block) {
	b.used = true
	t.give(b)
	t.setRoutes(b)
}

func (t *Topology) disuse(b *block) {
	b.used = false
	t.removeRoutes(b)
	t.takeBack(b)
}
