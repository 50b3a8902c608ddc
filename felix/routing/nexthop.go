package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// NextHops are those of learned routes of a family, sorted, each once.
func NextHops(family dataplane.Family, learned []bgp.Route) []netip.Addr {
	var all []netip.Addr
	for _, r := range learned {
		if ofFamily(r.Dst, family) {
			all = append(all, r.NextHops...)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// learned adds routes that BGP knows and the stream does not. A route whose next hop is unreachable waits, as in any
// router (RFC 4271, section 9.1.2.1): nothing is wrong with the node. The same holds if the kernel has another
// program's route to the destination, such as its own subnet or default route, which a router may well announce.
func (c *computation) learned(r bgp.Route) {
	if c.taken[r.Dst.Masked()] {
		return
	}
	trusted, refusal := c.trusted(r)
	if len(trusted) == 0 {
		c.refuse(r.Dst, refusal)
		return
	}
	var hops []route.Hop
	for _, next := range trusted {
		for _, hop := range c.resolve(next) {
			if !slices.Contains(hops, hop) {
				hops = append(hops, hop)
			}
		}
	}
	if len(hops) == 0 {
		c.out.Unresolved = append(c.out.Unresolved, fmt.Sprintf("route %s: the node has no route to a next hop of %v",
			r.Dst, trusted))
		return
	}
	c.add(route.Route{Dst: r.Dst, Protocol: route.ProtocolBGP, Hops: hops, Yields: true})
}

// resolve returns the way to a next hop by the best underlay route (RFC 4271, section 5.1.3): the next hop
// itself on a link of the node, or the gateway towards it. The underlay has nothing that the product programs, and
// nothing is resolved through the product's devices, so that no route depends on itself.
func (c *computation) resolve(next netip.Addr) []route.Hop {
	switch {
	case !next.IsValid(), next.IsUnspecified(), next.IsLoopback(), next.IsMulticast(),
		slices.Contains(c.Self.Own, next):
		return nil
	case next.IsLinkLocalUnicast():
		return c.neighbour(next)
	}
	for _, r := range c.Underlay {
		if !r.Dst.Contains(next) {
			continue
		}
		if r.Type != route.Unicast {
			return nil // packets to the next hop are dropped
		}
		var hops []route.Hop
		for _, hop := range r.Hops {
			if !hop.Gateway.IsValid() {
				hop.Gateway = next
			}
			if !ofProduct(hop.Device) {
				hops = append(hops, hop)
			}
		}
		return hops
	}
	return nil
}

// neighbour returns the way to an address that means something on one link only: known if it is a gateway of the
// node's. Routes that an earlier process left have such next hops.
func (c *computation) neighbour(next netip.Addr) []route.Hop {
	for _, r := range c.Underlay {
		for _, hop := range r.Hops {
			if hop.Gateway == next && !ofProduct(hop.Device) {
				return []route.Hop{hop}
			}
		}
	}
	return nil
}

// ofProduct reports whether a device leads to pods or is a tunnel of the product's.
func ofProduct(device string) bool {
	return strings.HasPrefix(device, derive.HostInterfacePrefix) || isTunnel(device)
}
