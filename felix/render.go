package felix

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// renderSets makes the sets of policies desired, as far as they changed.
func (a *Agent) renderSets() {
	a.withhold()
	for name := range a.state.dirty.sets {
		set := a.state.sets[name]
		for _, f := range a.opts.Drivers.Families {
			kernel := ipset.SetName(f.Family, name)
			if set == nil {
				f.Sets.Remove(kernel)
				continue
			}
			if w := set.whole; w != nil {
				f.Sets.Set(ipset.Set{Name: kernel, Type: setType(w.Type), Members: members(w.Nets, w.Ports)})
			}
			for _, d := range set.changes {
				f.Sets.RemoveMembers(kernel, members(d.RemovedNets, d.RemovedPorts)...)
				f.Sets.AddMembers(kernel, members(d.AddedNets, d.AddedPorts)...)
			}
		}
		if set != nil {
			set.whole, set.changes = nil, nil
		}
	}
	clear(a.state.dirty.sets)
}

func setType(t wire.SetType) ipset.Type {
	if t == wire.SetPort {
		return ipset.HashIPPort
	}
	return ipset.HashNet
}

func members(nets []netip.Prefix, ports []wire.PortMember) []ipset.Member {
	list := make([]ipset.Member, 0, len(nets)+len(ports))
	for _, n := range nets {
		list = append(list, ipset.Member{Net: n})
	}
	for _, p := range ports {
		list = append(list, ipset.Member{Net: netip.PrefixFrom(p.Addr, p.Addr.BitLen()), Protocol: p.Protocol, Port: p.Port})
	}
	return list
}

// renderRoutes makes routes, tunnels and what goes with them desired: the sets of pools and nodes, address translation,
// BGP's configuration.
func (a *Agent) renderRoutes() {
	if !a.state.dirty.routes {
		return
	}
	a.state.dirty.routes = false
	former, unresolved, refused := a.problems, a.unresolved, a.refused
	a.problems, a.unresolved, a.refused = nil, nil, nil
	routes := slices.SortedFunc(maps.Values(a.state.routes), func(x, y *wire.Route) int {
		return cmp.Or(x.Dst.Addr().Compare(y.Dst.Addr()), cmp.Compare(x.Dst.Bits(), y.Dst.Bits()))
	})
	if a.mayProgram() {
		a.configureBGP(routes)
	}
	learned := a.learned()
	var tunnels []tunnel.Device
	for _, f := range a.opts.Drivers.Families {
		underlay := a.underlay(f, learned)
		out := routing.Compute(routing.Input{
			Family: f.Family, Self: a.facts.Self(f.Family), Settings: a.routeSettings(f.Family),
			Hosts: a.state.hosts, Endpoints: a.state.tunnels, Pools: a.state.pools, Routes: routes, Learned: learned, Relays: a.relays(),
			Underlay: underlay, Workloads: a.routedWorkloads(),
		})
		f.Routes.Replace(out.Routes)
		a.answerer.keep(a.state.statusRequest, f.Family, rendered{out.Routes, underlay})
		a.problems = append(a.problems, out.Problems...)
		a.unresolved = append(a.unresolved, out.Unresolved...)
		a.refused = append(a.refused, out.Refused...)
		tunnels = append(tunnels, out.Tunnels...)
	}
	a.setTunnels(tunnels)
	for _, f := range a.opts.Drivers.Families {
		a.networkSets(f, tunnels)
		a.renderNAT(f, tunnels)
	}
	a.setTunnelPools()
	if len(a.problems) > 0 && !slices.Equal(a.problems, former) {
		a.log.Warn("part of the network cannot be reached", "problems", a.problems)
	}
	if !slices.Equal(a.unresolved, unresolved) {
		a.log.Info("routes learned by BGP that the node has no way to", "unresolved", a.unresolved)
	}
	if !slices.Equal(a.refused, refused) {
		a.log.Warn("routes learned by BGP that contradict IPAM", "refused", a.refused)
	}
}

// underlay is what the node has from others of routes to the next hops of what BGP learned. If the kernel
// cannot be read, what was known stays, and the loop asks again.
func (a *Agent) underlay(f FamilyDrivers, learned []bgp.Route) []route.Route {
	routes, err := f.Underlay.Of(routing.NextHops(f.Family, learned))
	if err != nil {
		a.problems = append(a.problems, fmt.Sprintf("next hops of BGP: %v", err))
		a.state.dirty.routes = true
	}
	return routes
}

func (a *Agent) routeSettings(f dataplane.Family) routing.Settings {
	c := a.config
	s := routing.Settings{Protocol: c.DeviceRouteProtocol, Source: c.DeviceRouteSourceAddress,
		NetworkMTU: a.facts.MTU, Tunnels: a.tunnelSettings(),
		NoEncap: a.state.bgp == nil || a.state.bgp.ProgramClusterRoutes ||
			c.ProgramClusterRoutes == "Enabled" || c.ProgramClusterRoutes == "EnabledNoEncapOnly"}
	if f == dataplane.IPv6 {
		s.Source = c.DeviceRouteSourceAddressIPv6
	}
	return s
}

func (a *Agent) routedWorkloads() []routing.Workload {
	var workloads []routing.Workload
	for _, w := range a.sortedWorkloads() {
		if a.hasInterface(w) {
			name := w.Namespace + "/" + w.Pod
			workloads = append(workloads, routing.Workload{Name: name, Interface: w.HostIface, Addrs: w.Addrs})
		}
	}
	return workloads
}

// networkSets makes the sets desired that the chains name besides those of policies.
func (a *Agent) networkSets(f FamilyDrivers, tunnels []tunnel.Device) {
	var all, masquerade, hosts []ipset.Member
	for _, pool := range a.state.sortedPools() {
		if all = append(all, ipset.Member{Net: pool.CIDR}); pool.NATOutgoing {
			masquerade = append(masquerade, ipset.Member{Net: pool.CIDR})
		}
	}
	for _, host := range a.state.hosts {
		for _, p := range []netip.Prefix{host.IPv4, host.IPv6} {
			if p.IsValid() {
				hosts = append(hosts, ipset.Member{Net: netip.PrefixFrom(p.Addr(), p.Addr().BitLen())})
			}
		}
	}
	sets := map[string][]ipset.Member{policy.SetAllPools: all, policy.SetMasqPools: masquerade, policy.SetAllHosts: hosts}
	maps.Copy(sets, tunnelSets(f.Family, tunnels))
	if a.ipvs.on {
		sets[policy.SetThisHost] = members(a.ipvs.hostNets, nil)
	} else {
		f.Sets.Remove(ipset.SetName(f.Family, policy.SetThisHost))
	}
	for id, list := range sets {
		f.Sets.Set(ipset.Set{Name: ipset.SetName(f.Family, id), Type: ipset.HashNet, Members: list})
	}
}

func (a *Agent) renderNAT(f FamilyDrivers, tunnels []tunnel.Device) {
	c := a.config
	nat := policy.NAT{SpareHosts: c.NATOutgoingExclusions == "IPPoolsAndHostIPs", OutInterface: c.IptablesNATOutgoingInterfaceFilter}
	if addr := c.NATOutgoingAddress; addr.IsValid() && dataplane.FamilyOf(addr) == f.Family {
		nat.Address = addr
	}
	nat.Tunnels = tunnelDevices(f.Family, tunnels)
	a.program(f, filter.NAT, f.NAT, a.renderer(f.Family).NAT(nat))
}
