package felix

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// What Calico uses for VXLAN unless the configuration says otherwise.
const (
	defaultVXLANPort = 4789
	defaultVXLANVNI  = 4096
)

// tunnelSettings returns the tunnels of both families that Felix can make, with what the configuration says about them.
func (a *Agent) tunnelSettings() []routing.TunnelSettings {
	c := a.config
	all := make([]routing.TunnelSettings, 0, len(routing.Tunnels))
	for _, t := range routing.Tunnels {
		s := routing.TunnelSettings{Tunnel: t}
		if t.Kind == encap.VXLAN {
			s.Port, s.VNI = cmp.Or(int(c.VXLANPort), defaultVXLANPort), cmp.Or(c.VXLANVNI, defaultVXLANVNI)
			s.ConfiguredMTU = c.VXLANMTU
			if t.Inner == dataplane.IPv6 {
				s.ConfiguredMTU = c.VXLANMTUV6
			}
		}
		all = append(all, s)
	}
	return all
}

// podMTU returns the MTU of new pods' interfaces in bytes; 0 if it is not known.
func (a *Agent) podMTU() int { return routing.PodMTU(a.facts.MTU, a.tunnelSettings(), a.state.pools) }

// setTunnels makes the tunnels of all families desired. The rules depend on them, but not on their peers.
func (a *Agent) setTunnels(tunnels []tunnel.Device) {
	a.opts.Drivers.Tunnels.Replace(tunnels)
	without := slices.Clone(tunnels)
	for i := range without {
		without[i].Peers = nil
	}
	if !reflect.DeepEqual(without, a.tunnels) {
		a.tunnels = without
		a.state.dirty.rules = true
	}
}

// setTunnelPools tells the owner of the node's facts which pools use tunnels.
func (a *Agent) setTunnelPools() {
	pools := node.TunnelPools{}
	for _, t := range routing.Tunnels {
		pools[t.Kind] = a.state.ipamPools(func(p *wire.Pool) bool { return p.Encap(t.Kind) != wire.EncapNever })
	}
	if a.mayProgram() && !reflect.DeepEqual(pools, a.tunnelPools) {
		a.tunnelPools = pools
		a.opts.Facts.SetTunnelPools(pools)
	}
}
