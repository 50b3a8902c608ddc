package felix

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// What Calico uses for VXLAN unless the configuration says otherwise.
const (
	defaultVXLANPort = 4789
	defaultVXLANVNI  = 4096
)

// tunnelKind is what the agent does for a kind of tunnel.
type tunnelKind struct {
	// guard is the kind's TunnelGuard but for the port. Its set has Calico's id.
	guard policy.TunnelGuard
	// configure sets what the configuration says about a tunnel of the kind.
	configure func(*config.Config, *routing.TunnelSettings)
}

// tunnelKinds has a row for each kind of routing.Tunnels.
var tunnelKinds = map[encap.Kind]tunnelKind{
	encap.VXLAN: {
		guard:     policy.TunnelGuard{Name: "VXLAN", Protocol: unix.IPPROTO_UDP, Nodes: "all-vxlan-net"},
		configure: configureVXLAN,
	},
}

func configureVXLAN(c *config.Config, s *routing.TunnelSettings) {
	s.Port, s.VNI = cmp.Or(int(c.VXLANPort), defaultVXLANPort), cmp.Or(c.VXLANVNI, defaultVXLANVNI)
	s.ConfiguredMTU = c.VXLANMTU
	if s.Inner == dataplane.IPv6 {
		s.ConfiguredMTU = c.VXLANMTUV6
	}
}

// tunnelSettings returns the tunnels of both families that Felix can make, with what the configuration says about them.
func (a *Agent) tunnelSettings() []routing.TunnelSettings {
	all := make([]routing.TunnelSettings, 0, len(routing.Tunnels))
	for _, t := range routing.Tunnels {
		s := routing.TunnelSettings{Tunnel: t}
		tunnelKinds[t.Kind].configure(a.config, &s)
		all = append(all, s)
	}
	return all
}

// podMTU returns the MTU of new pods' interfaces in bytes; 0 if it is not known.
func (a *Agent) podMTU() int { return routing.PodMTU(a.facts.MTU, a.tunnelSettings(), a.state.pools) }

// tunnelGuards returns what the rules of a family guard: the tunnels whose packets outside are of the family.
func (a *Agent) tunnelGuards(f dataplane.Family) []policy.TunnelGuard {
	var guards []policy.TunnelGuard
	for _, t := range a.tunnels {
		g := tunnelKinds[t.Kind].guard
		g.Port = uint16(t.Port)
		if dataplane.FamilyOf(t.Local) == f && !slices.Contains(guards, g) {
			guards = append(guards, g)
		}
	}
	return guards
}

// tunnelSets returns the members of the sets that tunnelGuards name, by their ids: the outer addresses of other nodes.
// It has the sets of all kinds, whether there is such a tunnel or not.
func tunnelSets(f dataplane.Family, tunnels []tunnel.Device) map[string][]ipset.Member {
	sets := map[string][]ipset.Member{}
	for _, kind := range tunnelKinds {
		sets[kind.guard.Nodes] = nil
	}
	for _, t := range tunnels {
		id := tunnelKinds[t.Kind].guard.Nodes
		for _, peer := range t.Peers {
			if dataplane.FamilyOf(peer.Outer) == f {
				sets[id] = append(sets[id], ipset.Member{Net: netip.PrefixFrom(peer.Outer, peer.Outer.BitLen())})
			}
		}
	}
	return sets
}

// tunnelDevices returns the tunnel devices for packets of a family.
func tunnelDevices(f dataplane.Family, tunnels []tunnel.Device) []policy.TunnelDevice {
	var devices []policy.TunnelDevice
	for _, t := range tunnels {
		if t.Family == f {
			devices = append(devices, policy.TunnelDevice{Name: t.Name, Addr: t.Addr})
		}
	}
	return devices
}

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
