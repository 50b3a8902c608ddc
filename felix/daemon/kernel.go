package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/conntrack"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/iface"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
)

// kernel is the drivers, open, and what they share.
type kernel struct {
	handle   *netlink.Handle // for routes, with strict checking
	links    *netlink.Handle // for the rest, which strict checking would refuse
	families []dataplane.Family
	backend  iptables.Backend
	drivers  felix.Drivers
	sets     []*ipset.Sets
	flows    []*conntrack.Connections
	metrics  *dataplaneMetrics
}

// openKernel opens every driver in the calling thread's network namespace. It changes nothing.
func openKernel(ctx context.Context, c *config.Config) (*kernel, error) {
	k := &kernel{families: []dataplane.Family{dataplane.IPv4}, backend: iptables.Backend(c.IptablesBackend),
		metrics: newDataplaneMetrics()}
	if c.Ipv6Support {
		k.families = append(k.families, dataplane.IPv6)
	}
	marks, err := policy.MarksOf(c.IptablesMarkMask)
	if err != nil {
		return nil, err
	}
	if c.IptablesBackend == "auto" {
		if k.backend, err = iptables.Detect(ctx, iptables.Exec{}); err != nil {
			return nil, err
		}
	}
	if k.handle, err = route.Open(); err != nil {
		return nil, err
	}
	if k.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		k.handle.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	_, err = os.Stat(sysctl.Root + "/net/ipv6/conf")
	k.drivers = felix.Drivers{
		HasIPv6:    err == nil,
		Interfaces: iface.New(k.links),
		Tunnels:    tunnel.New(k.links, routing.Devices()),
		Sysctls:    sysctl.New(sysctl.Dir(sysctl.Writable())),
		Polls:      k.backend == iptables.Legacy,
	}
	for _, family := range k.families {
		sets, err := ipset.Open(ipset.Config{Family: family, MaxElements: uint32(c.MaxIpsetSize)})
		if err != nil {
			k.close()
			return nil, err
		}
		k.sets = append(k.sets, sets)
		k.metrics.addSets(family, sets)
		connections, err := conntrack.Open(family)
		if err != nil {
			k.close()
			return nil, err
		}
		connections.Waited = seconds(k.metrics.forgot)
		k.flows = append(k.flows, connections)
		rules := func(table filter.Table) *iptables.Table {
			return k.metrics.addTable(family, table, iptables.New(iptables.Config{Family: family, Table: table,
				Backend: k.backend, Scratch: marks.Scratch, Runner: iptables.Exec{Started: k.metrics.execTook}}))
		}
		routes := route.Config{Family: family, Protocols: []int{c.DeviceRouteProtocol, route.ProtocolBGP},
			Listed: seconds(k.metrics.listed), Read: seconds(k.metrics.read)}
		k.drivers.Families = append(k.drivers.Families, felix.FamilyDrivers{
			Family: family, Sets: sets,
			Raw: rules(filter.Raw), Mangle: rules(filter.Mangle), Filter: rules(filter.Filter), NAT: rules(filter.NAT),
			Routes: k.metrics.addRoutes(family, route.New(k.handle, routes)), Underlay: route.NewForeign(k.handle, routes),
			Connections: connections,
		})
	}
	return k, nil
}

func (k *kernel) close() {
	for _, sets := range k.sets {
		_ = sets.Close() // nothing is pending on it
	}
	for _, connections := range k.flows {
		connections.Close()
	}
	k.handle.Close()
	k.links.Close()
}

// learnedRoutes are the routes that an earlier process had from BGP.
func (k *kernel) learnedRoutes() ([]bgp.Route, error) {
	var learned []bgp.Route
	for _, family := range k.families {
		filter := &netlink.Route{Table: route.MainTable, Protocol: route.ProtocolBGP}
		routes, err := k.handle.RouteListFiltered(family.AF(), filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
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
