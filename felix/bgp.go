package felix

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// configureBGP hands the speaker a configuration that differs from the last. It waits until the node's own Host is
// known: without the node's addresses there would be no sessions, and peers would drop the routes that they keep for
// the restart. It records the errors of the configuration and of the peers as problems.
func (n *network) configureBGP(v view, routes []*wire.Route) {
	if v.state.hosts[n.opts.Node] == nil && v.state.bgp != nil {
		return
	}
	c, err := bgp.ConfigFor(bgp.Input{Node: n.opts.Node, BGP: v.state.bgp,
		Hosts: slices.Collect(maps.Values(v.state.hosts)),
		Pools: v.state.sortedPools(), Routes: routes, MaxPrefixes: uint32(v.config.BGPMaxPrefixes)})
	if err != nil {
		n.problems = append(n.problems, strings.Split(err.Error(), "\n")...)
	}
	if !reflect.DeepEqual(c, n.bgp) {
		n.bgp = c
		n.opts.Speaker.Configure(c)
	}
	closed := 0
	for _, p := range n.opts.Speaker.Status().Peers {
		if p.Error != "" {
			closed++
			n.problems = append(n.problems, fmt.Sprintf("BGP peer %s (%s): %s", p.Name, p.Addr, p.Error))
		}
	}
	n.opts.Metrics.closedPeers.Set(float64(closed))
}

// learnedRoutes returns the routes that BGP has learned. If BGP is running, it adds those that the kernel has from the
// former process until the speaker is in sync.
func (n *network) learnedRoutes(running bool) []bgp.Route {
	synced := n.opts.Speaker.Status().Synced // before Routes, which then have everything
	routes := n.opts.Speaker.Routes()
	if !running || synced {
		n.learned = nil
		return routes
	}
	known := map[netip.Prefix]bool{}
	for _, r := range routes {
		known[r.Dst] = true
	}
	kept := slices.Clone(routes)
	for _, r := range n.learned {
		if !known[r.Dst] {
			kept = append(kept, r)
		}
	}
	return kept
}

// relays returns the addresses of route reflectors that set themselves as the next hop, as their BGPPeer says at both
// ends.
func (n *network) relays() (addrs []netip.Addr) {
	for _, p := range n.bgp.Peers {
		if p.Reflector && p.NextHopSelf {
			addrs = append(addrs, p.Addr)
		}
	}
	return addrs
}
