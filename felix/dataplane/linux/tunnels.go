package linux

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
)

// guards has what the rules guard for each kind of tunnel, but for the port. The sets have Calico's ids.
var guards = map[encap.Kind]policy.TunnelGuard{
	encap.VXLAN: {Name: "VXLAN", Protocol: unix.IPPROTO_UDP, Nodes: "all-vxlan-net"},
}

// setTunnels makes the tunnels of all families desired. The rules depend on them, but not on their peers.
func (d *Dataplane) setTunnels() {
	var all []tunnel.Device
	for _, name := range slices.Sorted(maps.Keys(d.tunnels)) {
		all = append(all, d.tunnels[name])
	}
	d.drivers.Tunnels.Replace(all)
	guarded := slices.Clone(all)
	for i := range guarded {
		guarded[i].Peers = nil
	}
	if !reflect.DeepEqual(guarded, d.guarded) {
		d.guarded, d.stale = guarded, true
	}
}

// tunnelGuards returns what the rules of a family guard: the tunnels whose packets outside are of the family.
func (d *Dataplane) tunnelGuards(f dataplane.Family) []policy.TunnelGuard {
	var list []policy.TunnelGuard
	for _, t := range d.guarded {
		g := guards[t.Kind]
		g.Port = uint16(t.Port)
		if dataplane.FamilyOf(t.Local) == f && !slices.Contains(list, g) {
			list = append(list, g)
		}
	}
	return list
}

// tunnelSets returns the members of the sets that tunnelGuards name, by their ids: the outer addresses of other nodes.
// It has the sets of all kinds, whether there is such a tunnel or not.
func (d *Dataplane) tunnelSets(f dataplane.Family) map[string][]filter.Member {
	sets := map[string][]filter.Member{}
	for _, guard := range guards {
		sets[guard.Nodes] = nil
	}
	for _, t := range d.tunnels {
		id := guards[t.Kind].Nodes
		for _, peer := range t.Peers {
			if dataplane.FamilyOf(peer.Outer) == f {
				sets[id] = append(sets[id], filter.Member{Net: netip.PrefixFrom(peer.Outer, peer.Outer.BitLen())})
			}
		}
	}
	return sets
}

// tunnelDevices returns the tunnel devices for packets of a family.
func (d *Dataplane) tunnelDevices(f dataplane.Family) []policy.TunnelDevice {
	var devices []policy.TunnelDevice
	for _, t := range d.guarded {
		if t.Family == f {
			devices = append(devices, policy.TunnelDevice{Name: t.Name, Addr: t.Addr})
		}
	}
	return devices
}
