package ipam

import (
	"net/netip"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/ipam/block"
)

// InUse returns the addresses that would lose their routes if a pool were deleted, in the order of the blocks: those
// assigned in blocks that the pool contains, and no other pool. Pools that are being deleted themselves do not count as
// others.
//
// Addresses of tunnels are left out: a node has one as long as it has a pool for it, and takes another address when the
// pool is gone. Blocks that contradict themselves are left out, too: they have no routes.
func InUse(pool *v3.IPPool, pools []v3.IPPool, blocks []v3.IPAMBlock) []block.Allocation {
	var used []block.Allocation
	for i := range blocks {
		b, err := block.Parse(&blocks[i])
		if err != nil || !contains(pool, b.CIDR) || servedByAnother(pool, pools, b.CIDR) {
			continue
		}
		used = append(used, b.Allocations(func(a block.Allocation) bool { return !isTunnel(a) })...)
	}
	return used
}

// Contains reports whether a pool contains a block, as far as both can be read.
func Contains(pool *v3.IPPool, block *v3.IPAMBlock) bool {
	cidr, ok := v3.BlockCIDR(block.Name)
	return ok && contains(pool, cidr)
}

// contains reports whether a block lies within a pool. It does not if the pool's network cannot be read.
func contains(pool *v3.IPPool, cidr netip.Prefix) bool {
	whole, err := netip.ParsePrefix(pool.Spec.CIDR)
	return err == nil && (&Pool{CIDR: whole}).containsBlock(cidr)
}

func servedByAnother(pool *v3.IPPool, pools []v3.IPPool, cidr netip.Prefix) bool {
	for i := range pools {
		other := &pools[i]
		if other.Name != pool.Name && other.DeletionTimestamp.IsZero() && contains(other, cidr) {
			return true
		}
	}
	return false
}

// isTunnel reports whether an address is that of a tunnel device, whoever assigned it.
func isTunnel(a block.Allocation) bool {
	return strings.HasSuffix(a.Attributes[AttrType], "TunnelAddress")
}
