package felix

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// network is the desired routes and tunnels, and what keeps destinations from being reached. The routes to workloads
// are in the same tables; endpoints sets them.
type network struct {
	opts   *Options
	tables map[dataplane.Family]*routing.Table
	// learned are the BGP routes of an earlier process, which stay until the speaker is in sync.
	learned     []bgp.Route
	bgp         bgp.Config
	tunnels     map[string]tunnel.Device // as they were handed to the dataplane
	tunnelPools node.TunnelPools         // as NodeFacts was told
	underlay    map[dataplane.Family][]route.Route

	problems   []string // destinations that cannot be reached, but for workloads
	unresolved []string // routes learned by BGP whose next hops cannot be reached
	refused    []string // and those that contradict the stream
}

func newNetwork(opts *Options, tables map[dataplane.Family]*routing.Table) *network {
	return &network{opts: opts, tables: tables, learned: opts.Learned, tunnels: map[string]tunnel.Device{},
		underlay: map[dataplane.Family][]route.Route{}}
}

// view is what routes and tunnels depend on.
type view struct {
	state  *state
	facts  node.Facts
	config *config.Config
	// programming is set if the speaker and the node's tunnel addresses may be configured.
	programming bool
}

// compute makes routes, tunnels and the networks that rules name desired, and returns the latter two. If the kernel's
// own routes cannot be read it marks the routes as dirty, so that the loop asks again.
func (n *network) compute(v view) (boundary.Delta[string, tunnel.Device], *boundary.Networks) {
	unresolved, refused := n.unresolved, n.refused
	n.problems, n.unresolved, n.refused = nil, nil, nil
	routes := slices.SortedFunc(maps.Values(v.state.routes), func(x, y *wire.Route) int {
		return cmp.Or(x.Dst.Addr().Compare(y.Dst.Addr()), cmp.Compare(x.Dst.Bits(), y.Dst.Bits()))
	})
	if v.programming {
		n.configureBGP(v, routes)
	}
	learned := n.learnedRoutes(v.state.bgp != nil)
	tunnels := map[string]tunnel.Device{}
	for _, f := range n.opts.Dataplane.Families() {
		settings := routeSettings(v, f)
		out := routing.Compute(routing.Input{
			Family: f, Self: v.facts.Self(f), Settings: settings, Hosts: v.state.hosts, Endpoints: v.state.tunnels,
			Pools: v.state.pools, Routes: routes, Learned: learned, Relays: n.relays(),
			Underlay: n.readUnderlay(v.state, f, learned),
		})
		n.tables[f].Configure(settings)
		n.tables[f].SetNetwork(out.Routes)
		n.problems = append(n.problems, out.Problems...)
		n.unresolved = append(n.unresolved, out.Unresolved...)
		n.refused = append(n.refused, out.Refused...)
		for _, t := range out.Tunnels {
			tunnels[t.Name] = t
		}
	}
	n.setTunnelPools(v)
	if !slices.Equal(n.unresolved, unresolved) {
		n.opts.Log.Info("routes learned by BGP that the node has no way to", "unresolved", n.unresolved)
	}
	if !slices.Equal(n.refused, refused) {
		n.opts.Log.Warn("routes learned by BGP that contradict IPAM", "refused", n.refused)
	}
	return n.changeTunnels(tunnels), networksOf(v.state)
}

// readUnderlay is what the node has from others of routes to the next hops of what BGP learned. If the kernel cannot be
// read, what was known stays.
func (n *network) readUnderlay(s *state, f dataplane.Family, learned []bgp.Route) []route.Route {
	routes, err := n.opts.Underlay[f].Of(routing.NextHops(f, learned))
	if err != nil {
		n.problems = append(n.problems, fmt.Sprintf("next hops of BGP: %v", err))
		s.dirty.routes = true
	}
	n.underlay[f] = routes
	return routes
}

// changeTunnels returns how tunnels differ from those that were handed to the dataplane.
func (n *network) changeTunnels(tunnels map[string]tunnel.Device) (changes boundary.Delta[string, tunnel.Device]) {
	for name := range n.tunnels {
		if _, desired := tunnels[name]; !desired {
			changes.Delete(name)
		}
	}
	for name, t := range tunnels {
		if !reflect.DeepEqual(n.tunnels[name], t) {
			changes.Set(name, t)
		}
	}
	n.tunnels = tunnels
	return changes
}

// changeRoutes returns the routes that changed, of all families.
func (n *network) changeRoutes() (changes boundary.Delta[route.Key, route.Route]) {
	for _, t := range n.tables {
		upserts, deletes := t.Changes()
		for _, r := range upserts {
			changes.Set(route.Key{Dst: r.Dst, Priority: r.Priority}, r)
		}
		for _, key := range deletes {
			changes.Delete(key)
		}
	}
	return changes
}

// allProblems returns the destinations that cannot be reached, workloads among them.
func (n *network) allProblems() []string {
	all := slices.Clone(n.problems)
	for _, f := range n.opts.Dataplane.Families() {
		all = append(all, n.tables[f].Problems()...)
	}
	return all
}

func routeSettings(v view, f dataplane.Family) routing.Settings {
	c := v.config
	s := routing.Settings{Protocol: c.DeviceRouteProtocol, Source: c.DeviceRouteSourceAddress,
		NetworkMTU: v.facts.MTU, Tunnels: tunnelSettings(c),
		NoEncap: v.state.bgp == nil || v.state.bgp.ProgramClusterRoutes ||
			c.ProgramClusterRoutes == "Enabled" || c.ProgramClusterRoutes == "EnabledNoEncapOnly"}
	if f == dataplane.IPv6 {
		s.Source = c.DeviceRouteSourceAddressIPv6
	}
	return s
}

// networksOf returns what rules name besides the sets of policies.
func networksOf(s *state) *boundary.Networks {
	n := &boundary.Networks{}
	for _, pool := range s.sortedPools() {
		n.Pools = append(n.Pools, pool.CIDR)
		if pool.NATOutgoing {
			n.Masquerade = append(n.Masquerade, pool.CIDR)
		}
	}
	for _, host := range s.hosts {
		for _, p := range []netip.Prefix{host.IPv4, host.IPv6} {
			if p.IsValid() {
				n.Nodes = append(n.Nodes, p.Addr())
			}
		}
	}
	return n
}
