// Package routing decides how a node reaches every destination: from what the stream says of
// blocks, nodes and pools, what BGP learned, and the routes that others made of the node (the underlay), to the desired
// routes and tunnel devices. What differs between the kinds of tunnels (device, overhead) is in tunnel.go.
//
// It is pure: values in, values out. The agent calls it on its own goroutine and hands the
// result to the drivers. A destination has one owner: what the stream says wins, what
// BGP learned fills the rest, as far as it does not contradict the stream.
package routing

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/typha/wire"
)

// Self is this node in one IP family.
type Self struct {
	Node string
	// Uplinks are the node's connections to the other nodes, of both families.
	Uplinks map[dataplane.Family]Uplink
	// Own are all the node's addresses of the family.
	Own []netip.Addr
	// Tunnels has the addresses of the node's tunnel devices, by kind.
	Tunnels map[encap.Kind]netip.Addr
}

// Uplink connects the node to the other nodes in one family.
type Uplink struct {
	// Addr is the node's address with the length of its subnet; invalid if it has none of the family.
	Addr   netip.Prefix
	Device string // carries Addr
}

// Settings are the parts of Felix's configuration that concern routes.
type Settings struct {
	// Protocol of the routes that are not BGP's.
	Protocol int
	// Source is the preferred source address of routes to pods; invalid for the kernel's choice.
	Source netip.Addr
	// NoEncap: routes between nodes of one subnet are programmed also for pools without
	// encapsulation; otherwise they are left to BGP.
	NoEncap bool
	// NetworkMTU is the MTU of the node's network in bytes; 0 if it is not known.
	NetworkMTU int
	// Tunnels are the tunnels of both families that Felix can make.
	Tunnels []TunnelSettings
}

// Workload is a pod of this node. Of several with the same address, the first by interface gets the route.
type Workload struct {
	Name      string // namespace/pod, for messages
	Interface string // the host's end
	Addrs     []netip.Addr
}

// Input is everything that routes depend on. Objects of both families may be in it.
type Input struct {
	Family   dataplane.Family
	Self     Self
	Settings Settings
	Hosts    map[string]*wire.Host
	// Endpoints are the nodes' ends of tunnels, of all kinds, by the names of their IDs.
	Endpoints map[string]*wire.TunnelEndpoint
	Pools     map[string]*wire.Pool
	Routes    []*wire.Route
	Learned   []bgp.Route
	// Relays are route reflectors that set themselves as the next hop of routes that they pass on.
	Relays []netip.Addr
	// Underlay are the routes that the node has from others, of the family, best first: by them the next hops of
	// Learned are resolved. Those that concern no next hop may be left out.
	Underlay []route.Route
}

// Output is the desired state.
type Output struct {
	Routes []route.Route
	// Tunnels are the devices that the node needs for packets of the family.
	Tunnels []tunnel.Device
	// Problems are destinations that cannot be reached, and why, sorted.
	Problems []string
	// Unresolved are learned routes whose next hops the node cannot reach. Refused are those that contradict the
	// stream's data on the pools. Both are sorted, and cut if they are long.
	Unresolved, Refused []string
}

// Compute makes the desired state, but for the routes to the node's workloads: a Table has those. It is the same for
// the same input, in the same order.
func Compute(in Input) Output {
	c := computation{Input: in, taken: map[netip.Prefix]bool{}}
	if len(in.Learned) > 0 {
		c.ipam = newIPAM(in.Pools, in.Routes, in.Hosts)
	}
	c.pools = slices.Collect(maps.Values(in.Pools))
	c.makeTunnels()
	for _, r := range in.Routes {
		if ofFamily(r.Dst, in.Family) && r.Node == in.Self.Node {
			c.own(r)
		}
	}
	for _, r := range in.Routes {
		if ofFamily(r.Dst, in.Family) && r.Node != in.Self.Node {
			c.remote(r)
		}
	}
	for _, r := range in.Learned {
		if ofFamily(r.Dst, in.Family) {
			c.learned(r)
		}
	}
	slices.SortFunc(c.out.Routes, byDestination)
	slices.Sort(c.out.Problems)
	c.out.Unresolved, c.out.Refused = bounded(c.out.Unresolved), bounded(c.out.Refused)
	return c.out
}

type computation struct {
	Input
	out   Output
	pools []*wire.Pool
	taken map[netip.Prefix]bool
	ipam  ipam
}

func ofFamily(p netip.Prefix, f dataplane.Family) bool {
	return p.IsValid() && dataplane.FamilyOf(p.Addr()) == f
}

// add makes a route desired unless its destination has one.
func (c *computation) add(r route.Route) {
	r.Dst = r.Dst.Masked()
	if c.taken[r.Dst] {
		return
	}
	c.taken[r.Dst] = true
	if r.Protocol == 0 {
		r.Protocol = c.Settings.Protocol
	}
	c.out.Routes = append(c.out.Routes, r)
}

func (c *computation) problem(format string, args ...any) {
	c.out.Problems = append(c.out.Problems, fmt.Sprintf(format, args...))
}

// own drops what is sent to the node's own blocks and has no pod: without it, it would leave by the
// default route and come back.
func (c *computation) own(r *wire.Route) {
	c.add(route.Route{Dst: r.Dst, Type: route.Blackhole})
}

// remote is a route to another node: direct, through the tunnel, or BGP's.
func (c *computation) remote(r *wire.Route) {
	pool := c.Pools[r.Pool]
	if pool == nil {
		return // the pool is gone, or comes with a later commit
	}
	peer, uplink := c.peer(r.Node), c.Self.Uplinks[c.Family]
	direct := peer.IsValid() && uplink.Addr.IsValid() && uplink.Addr.Contains(peer)
	program := c.Settings.NoEncap
	for _, kind := range []encap.Kind{encap.VXLAN, encap.IPIP} {
		switch mode := pool.Encap(kind); {
		case mode == wire.EncapAlways, mode == wire.EncapCrossSubnet && !direct:
			c.tunnelled(r, kind)
			return
		case mode == wire.EncapCrossSubnet:
			program = true
		}
	}
	if direct && program {
		c.add(route.Route{Dst: r.Dst, Hops: []route.Hop{{Device: uplink.Device, Gateway: peer}}})
	}
}

// tunnelled is a route through a kind of tunnel. It waits until both nodes have the addresses for it.
func (c *computation) tunnelled(r *wire.Route, kind encap.Kind) {
	if !c.can(kind) {
		c.problem("route %s: pool %s needs %s, which this node does not do; set ipipMode: Never and vxlanMode",
			r.Dst, r.Pool, strings.ToUpper(kind.String()))
		return
	}
	if device, end := c.tunnelTo(r.Node, kind); device != "" {
		c.add(route.Route{Dst: r.Dst, Hops: []route.Hop{{Device: device, Gateway: end, OnLink: true}}})
	}
}

// peer is another node's address of the family, invalid if it is not known.
func (c *computation) peer(node string) netip.Addr {
	host := c.Hosts[node]
	switch {
	case host == nil:
		return netip.Addr{}
	case c.Family == dataplane.IPv6:
		return host.IPv6.Addr()
	}
	return host.IPv4.Addr()
}
