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
func (a *Agent) configureBGP(routes []*wire.Route) {
	if a.state.hosts[a.opts.Node] == nil && a.state.bgp != nil {
		return
	}
	c, err := bgp.ConfigFor(bgp.Input{Node: a.opts.Node, BGP: a.state.bgp, Hosts: slices.Collect(maps.Values(a.state.hosts)),
		Pools: a.state.sortedPools(), Routes: routes, MaxPrefixes: uint32(a.config.BGPMaxPrefixes)})
	if err != nil {
		a.problems = append(a.problems, strings.Split(err.Error(), "\n")...)
	}
	if !reflect.DeepEqual(c, a.bgpConfig) {
		a.bgpConfig = c
		a.opts.Speaker.Configure(c)
	}
	closed := 0
	for _, p := range a.opts.Speaker.Status().Peers {
		if p.Error != "" {
			closed++
			a.problems = append(a.problems, fmt.Sprintf("BGP peer %s (%s): %s", p.Name, p.Addr, p.Error))
		}
	}
	a.metrics.closedPeers.Set(float64(closed))
}

// learned returns the routes that BGP has learned. Until the speaker is in sync it adds those that the kernel has from
// the former process.
func (a *Agent) learned() []bgp.Route {
	synced := a.opts.Speaker.Status().Synced // before Routes, which then have everything
	routes := a.opts.Speaker.Routes()
	if a.state.bgp == nil || synced {
		a.opts.Learned = nil
		return routes
	}
	known := map[netip.Prefix]bool{}
	for _, r := range routes {
		known[r.Dst] = true
	}
	kept := slices.Clone(routes)
	for _, r := range a.opts.Learned {
		if !known[r.Dst] {
			kept = append(kept, r)
		}
	}
	return kept
}

// relays returns the addresses of route reflectors that set themselves as the next hop, as their BGPPeer says at both
// ends.
func (a *Agent) relays() (addrs []netip.Addr) {
	for _, p := range a.bgpConfig.Peers {
		if p.Reflector && p.NextHopSelf {
			addrs = append(addrs, p.Addr)
		}
	}
	return addrs
}
