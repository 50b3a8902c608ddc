package routing

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// ipam is the stream's data on pools, blocks and nodes, against which learned routes are checked. The speaker has
// already refused, session by session, what a node may not announce. Here the next hop is checked, whoever passed the
// route on.
type ipam struct {
	pools  []netip.Prefix
	owners map[netip.Prefix]string // the node of each block and borrowed address
	nodes  map[netip.Addr]bool     // the addresses of the nodes
}

func newIPAM(pools map[string]*wire.Pool, routes []*wire.Route, hosts map[string]*wire.Host) ipam {
	i := ipam{owners: map[netip.Prefix]string{}, nodes: map[netip.Addr]bool{}}
	for _, p := range pools {
		i.pools = append(i.pools, p.CIDR)
	}
	for _, r := range routes {
		i.owners[r.Dst.Masked()] = r.Node
	}
	for _, h := range hosts {
		i.nodes[h.IPv4.Addr()], i.nodes[h.IPv6.Addr()] = true, true
	}
	return i
}

// poolWith returns a pool that contains a network, or the zero Prefix.
func (i ipam) poolWith(dst netip.Prefix) netip.Prefix {
	for _, p := range i.pools {
		if p.Bits() <= dst.Bits() && p.Contains(dst.Addr()) {
			return p
		}
	}
	return netip.Prefix{}
}

// inBlock reports whether a destination is a part of a block, and not all of it.
func (i ipam) inBlock(dst, pool netip.Prefix) bool {
	for bits := dst.Bits() - 1; bits >= pool.Bits(); bits-- {
		if _, is := i.owners[netip.PrefixFrom(dst.Addr(), bits).Masked()]; is {
			return true
		}
	}
	return false
}

// trusted returns the next hops of a learned route that may be used, and why others may not. What IPAM has on a node
// may go to that node, to a relay, or to a router outside the cluster. A part of a block goes nowhere unless IPAM has
// it on some node. The address of a pod is no next hop.
func (c *computation) trusted(r bgp.Route) (hops []netip.Addr, refusal string) {
	dst := r.Dst.Masked()
	pool := c.ipam.poolWith(dst)
	owner, known := c.ipam.owners[dst]
	if pool.IsValid() && !known && c.ipam.inBlock(dst, pool) {
		return nil, "it is part of a block and IPAM has it on no node"
	}
	for _, next := range r.NextHops {
		node := c.ipam.nodes[next]
		switch {
		case !node && c.ipam.poolWith(hostPrefix(next)).IsValid():
			refusal = fmt.Sprintf("the next hop %s is an address of pods", next)
		case !pool.IsValid() || !node || next == c.peer(owner) || slices.Contains(c.Relays, next):
			hops = append(hops, next)
		case known:
			refusal = fmt.Sprintf("IPAM has it on node %s and not on the one with the next hop %s", owner, next)
		default:
			refusal = fmt.Sprintf("IPAM has it on no node, so not on the one with the next hop %s", next)
		}
	}
	return hops, refusal
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// longestList limits the lists of learned routes that cannot be programmed: their length depends on the peers.
const longestList = 100

// bounded sorts a list and cuts it to longestList; the last entry then has the number of the others.
func bounded(list []string) []string {
	slices.Sort(list)
	if more := len(list) - longestList; more > 0 {
		return append(list[:longestList:longestList], fmt.Sprintf("and %d more", more))
	}
	return list
}

// refuse records a learned route that is not programmed.
func (c *computation) refuse(dst netip.Prefix, reason string) {
	c.out.Refused = append(c.out.Refused, fmt.Sprintf("route %s: %s", dst, reason))
}
