// Package routing decides how a node reaches every destination: from what the stream says of
// blocks, nodes and pools, what BGP learned, and the routes that others made of the node (the underlay), to the desired
// routes and VXLAN devices.
//
// It is pure: values in, values out. The agent calls it on its own goroutine and hands the
// result to the drivers. A destination has one owner: what the stream says wins, what
// BGP learned fills the rest, as far as it does not contradict the stream.
package routing

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/tunnel"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/link"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/typha/wire"
)

// Self is this node in one IP family.
type Self struct {
	Node string
	// Addr is the node's address with the length of its subnet; invalid if it has none of the family.
	Addr netip.Prefix
	// Device carries Addr.
	Device string
	// Own are all the node's addresses of the family.
	Own []netip.Addr
	// Tunnel is the address of the node's VXLAN device, invalid while it has none, and TunnelMAC
	// the device's MAC address.
	Tunnel    netip.Addr
	TunnelMAC net.HardwareAddr
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
	// VXLAN device: name, MTU in bytes, UDP port, VNI.
	Device         string
	MTU, Port, VNI int
}

// Workload is a pod of this node. Of two with the same address, the first gets the route.
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
	Underlay  []route.Route
	Workloads []Workload
}

// Output is the desired state.
type Output struct {
	Routes []route.Route
	// Tunnel is nil if the node needs no VXLAN device of the family.
	Tunnel *link.VXLAN
	// Problems are destinations that cannot be reached, and why, sorted.
	Problems []string
	// Unresolved are learned routes whose next hops the node cannot reach. Refused are those that contradict the
	// stream's data on the pools. Both are sorted, and cut if they are long.
	Unresolved, Refused []string
}

// Compute makes the desired state. It is the same for the same input, in the same order.
func Compute(in Input) Output {
	c := computation{Input: in, taken: map[netip.Prefix]bool{}, owners: map[netip.Addr]Workload{}}
	if len(in.Learned) > 0 {
		c.ipam = newIPAM(in.Pools, in.Routes, in.Hosts)
	}
	c.tunnel()
	for _, w := range in.Workloads {
		c.workload(w)
	}
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
	slices.SortFunc(c.out.Routes, func(a, b route.Route) int {
		return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Dst.Bits(), b.Dst.Bits()))
	})
	slices.Sort(c.out.Problems)
	c.out.Unresolved, c.out.Refused = bounded(c.out.Unresolved), bounded(c.out.Refused)
	return c.out
}

type computation struct {
	Input
	out   Output
	taken map[netip.Prefix]bool
	// owners are the workloads that have routes to their addresses.
	owners map[netip.Addr]Workload
	ipam   ipam
}

func ofFamily(p netip.Prefix, f dataplane.Family) bool {
	return p.IsValid() && dataplane.FamilyOf(p.Addr()) == f
}

// add makes a route desired unless its destination has one.
func (c *computation) add(r route.Route) {
	if r.Dst = r.Dst.Masked(); c.taken[r.Dst] {
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

func (c *computation) workload(w Workload) {
	for _, addr := range w.Addrs {
		if owner, taken := c.owners[addr]; taken {
			c.problem("pod %s (%s) gets no route: its address %s is that of pod %s (%s); make one of them anew",
				w.Name, w.Interface, addr, owner.Name, owner.Interface)
		} else if dataplane.FamilyOf(addr) == c.Family {
			c.owners[addr] = w
			c.add(route.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Src: c.Settings.Source,
				Hops: []route.Hop{{Device: w.Interface}}})
		}
	}
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
	peer := c.peer(r.Node)
	direct := peer.IsValid() && c.Self.Addr.IsValid() && c.Self.Addr.Contains(peer)
	switch {
	case pool.VXLAN == wire.EncapAlways, pool.VXLAN == wire.EncapCrossSubnet && !direct:
		c.tunnelled(r)
	case pool.IPIP == wire.EncapAlways, pool.IPIP == wire.EncapCrossSubnet && !direct:
		c.problem("route %s: pool %s needs IPIP, which this node does not do; set ipipMode: Never and vxlanMode", r.Dst, pool.Name)
	case direct && (c.Settings.NoEncap || pool.VXLAN == wire.EncapCrossSubnet || pool.IPIP == wire.EncapCrossSubnet):
		c.add(route.Route{Dst: r.Dst, Hops: []route.Hop{{Device: c.Self.Device, Gateway: peer}}})
	}
}

func (c *computation) tunnelled(r *wire.Route) {
	end := c.Endpoints[wire.TunnelEndpointID(r.Node, tunnel.VXLAN, uint8(c.Family)).Name]
	if end == nil || c.out.Tunnel == nil {
		return // comes with the node's address
	}
	c.add(route.Route{Dst: r.Dst, Hops: []route.Hop{{Device: c.Settings.Device, Gateway: end.Addr, OnLink: true}}})
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

// tunnel makes the device, if a pool of the family uses it and the node has an address for it.
func (c *computation) tunnel() {
	wanted := false
	for _, pool := range c.Pools {
		wanted = wanted || ofFamily(pool.CIDR, c.Family) && pool.VXLAN != wire.EncapNever
	}
	if !wanted || !c.Self.Tunnel.IsValid() || !c.Self.Addr.IsValid() {
		return
	}
	device := &link.VXLAN{Name: c.Settings.Device, VNI: c.Settings.VNI, Port: c.Settings.Port, MTU: c.Settings.MTU,
		Parent: c.Self.Device, Local: c.Self.Addr.Addr(), MAC: c.Self.TunnelMAC, Addr: c.Self.Tunnel}
	for _, end := range c.Endpoints {
		if end.Node != c.Self.Node && end.Kind == tunnel.VXLAN && dataplane.FamilyOf(end.Addr) == c.Family {
			device.Peers = append(device.Peers, link.Peer{Tunnel: end.Addr, MAC: end.MAC, Remote: end.Outer})
		}
	}
	slices.SortFunc(device.Peers, func(a, b link.Peer) int { return a.Tunnel.Compare(b.Tunnel) })
	c.out.Tunnel = device
}
