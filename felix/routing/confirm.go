package routing

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// ipam is what the stream says of the pools, against which learned routes are held. The speaker has refused by session what
// a node may not announce; here it is judged by next hop, whoever passed the route on.
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

// poolWith is the pool that has a whole network in it, or the zero Prefix.
func (i ipam) poolWith(dst netip.Prefix) netip.Prefix {
	for _, p := range i.pools {
		if p.Bits() <= dst.Bits() && p.Contains(dst.Addr()) {
			return p
		}
	}
	return netip.Prefix{}
}

// inBlock says whether a destination is part of a block, and not all of it.
func (i ipam) inBlock(dst, pool netip.Prefix) bool {
	for bits := dst.Bits() - 1; bits >= pool.Bits(); bits-- {
		if _, is := i.owners[netip.PrefixFrom(dst.Addr(), bits).Masked()]; is {
			return true
		}
	}
	return false
}

// trusted gives the next hops of a learned route that may be taken, or why there is none. What IPAM has on a node goes to
// that node, or to a router outside that knows the way. Nothing takes a part of a block elsewhere, and a pod leads nowhere.
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

// longestList bounds the lists of learned routes that cannot be programmed: how long they get is for others to say.
const longestList = 100

// bounded sorts a list and says how much more than longestList there is.
func bounded(list []string) []string {
	slices.Sort(list)
	if more := len(list) - longestList; more > 0 {
		return append(list[:longestList:longestList], fmt.Sprintf("and %d more", more))
	}
	return list
}

// refuse notes a learned route that is not programmed.
func (c *computation) refuse(dst netip.Prefix, reason string) {
	c.out.Refused = append(c.out.Refused, fmt.Sprintf("route %s: %s", dst, reason))
}
