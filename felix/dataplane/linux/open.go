package linux

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/conntrack"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/iface"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
)

// Kernel is the drivers of a network namespace, open, and what reads it for others.
type Kernel struct {
	// Dataplane programs the kernel.
	Dataplane *Dataplane
	// Interfaces and Underlay read it and change nothing.
	Interfaces *iface.Interfaces
	Underlay   map[dataplane.Family]*route.Foreign
	// Links is rtnetlink without strict checking.
	Links *netlink.Handle
	// Variant is the variant of iptables in use.
	Variant iptables.Variant
	// Metrics has what the drivers count, by Calico's names.
	Metrics *Metrics

	routes *netlink.Handle // rtnetlink with strict checking
	closed []func()
}

// Open opens every driver in the calling thread's network namespace. It changes nothing. Call Close after use.
func Open(ctx context.Context, c *config.Config) (*Kernel, error) {
	marks, err := policy.MarksOf(c.IptablesMarkMask)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Variant: iptables.Variant(c.IptablesBackend), Underlay: map[dataplane.Family]*route.Foreign{}}
	if c.IptablesBackend == "auto" {
		k.Variant, err = iptables.Detect(ctx, iptables.Exec{})
		if err != nil {
			return nil, err
		}
	}
	k.routes, err = route.Open()
	if err != nil {
		return nil, err
	}
	k.closed = append(k.closed, k.routes.Close)
	k.Links, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		k.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	k.closed = append(k.closed, k.Links.Close)
	k.Interfaces = iface.New(k.Links)
	k.Metrics = NewMetrics()
	drivers, err := k.open(c, marks)
	if err != nil {
		k.Close()
		return nil, err
	}
	k.Dataplane = New(drivers, marks, k.Metrics.failed)
	return k, nil
}

// open opens the drivers that change the kernel.
func (k *Kernel) open(c *config.Config, marks policy.Marks) (Drivers, error) {
	m := k.Metrics
	_, err := os.Stat(sysctl.Root + "/net/ipv6/conf")
	drivers := Drivers{
		HasIPv6: err == nil,
		Tunnels: tunnel.New(k.Links, routing.Devices()),
		Sysctls: sysctl.New(sysctl.Dir(sysctl.Writable())),
	}
	families := []dataplane.Family{dataplane.IPv4}
	if c.Ipv6Support {
		families = append(families, dataplane.IPv6)
	}
	for _, family := range families {
		rules, err := iptables.Open(iptables.Config{Family: family, Variant: k.Variant, Scratch: marks.Scratch,
			Runner: iptables.Exec{Started: m.execTook}, MaxElements: uint32(c.MaxIpsetSize)})
		if err != nil {
			return drivers, err
		}
		k.closed = append(k.closed, func() { _ = rules.Close() }) // nothing is pending on it
		m.addFilter(family, rules)
		connections, err := conntrack.Open(family)
		if err != nil {
			return drivers, err
		}
		k.closed = append(k.closed, connections.Close)
		connections.Waited = seconds(m.forgot)
		routes := route.Config{Family: family, Protocols: []int{c.DeviceRouteProtocol, route.ProtocolBGP},
			Listed: seconds(m.listed), Read: seconds(m.read)}
		k.Underlay[family] = route.NewForeign(k.routes, routes)
		drivers.Families = append(drivers.Families, FamilyDrivers{
			Family: family, Filter: rules,
			Routes: m.addRoutes(family, route.New(k.routes, routes)), Connections: connections,
		})
	}
	return drivers, nil
}

// Close frees the drivers. What they programmed stays.
func (k *Kernel) Close() {
	for _, closed := range k.closed {
		closed()
	}
}

// LearnedRoutes returns the routes that an earlier process had from BGP.
func (k *Kernel) LearnedRoutes() ([]bgp.Route, error) {
	var learned []bgp.Route
	for _, family := range k.Dataplane.Families() {
		filter := &netlink.Route{Table: route.MainTable, Protocol: route.ProtocolBGP}
		routes, err := k.routes.RouteListFiltered(family.AF(), filter,
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, fmt.Errorf("list %s routes that BGP left: %w", family, err)
		}
		for _, r := range routes {
			if l, ok := learnedRoute(r); ok {
				learned = append(learned, l)
			}
		}
	}
	return learned, nil
}

func learnedRoute(r netlink.Route) (bgp.Route, bool) {
	if r.Protocol != route.ProtocolBGP || r.Table != route.MainTable || r.Dst == nil {
		return bgp.Route{}, false // the library's filters are alternatives
	}
	ip, ok := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	l := bgp.Route{Dst: netip.PrefixFrom(ip.Unmap(), ones)} // the library writes IPv4's default route in 16 bytes
	for _, hop := range append(r.MultiPath, &netlink.NexthopInfo{Gw: r.Gw}) {
		if gateway, valid := netip.AddrFromSlice(hop.Gw); valid {
			l.NextHops = append(l.NextHops, gateway)
		}
	}
	return l, ok && len(l.NextHops) > 0
}
