package linux

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
)

// TestTunnelRows: each tunnel that routing wants has a guard.
func TestTunnelRows(t *testing.T) {
	for _, row := range routing.Tunnels {
		if g := guards[row.Kind]; g.Name == "" || g.Protocol == 0 || g.Nodes == "" {
			t.Errorf("%s: the guard is %+v", row.Device, g)
		}
	}
}

// TestTunnelFamilies: of a tunnel of IPv4 packets in IPv6 packets, the guard and its set are of IPv6, and the device
// that packets of the node leave by is of IPv4.
func TestTunnelFamilies(t *testing.T) {
	addr := netip.MustParseAddr
	device := tunnel.Device{Name: "vxlan4in6", Kind: encap.VXLAN, Family: dataplane.IPv4, Port: 4790,
		Local: addr("fd00::11"), Addr: addr("10.65.1.0"), Peers: []tunnel.Peer{{Addr: addr("10.65.2.0"),
			Outer: addr("fd00::12")}}}
	second := device
	second.Name, second.Family, second.Addr = "vxlan6in6", dataplane.IPv6, addr("fd01::1")
	with := func(devices ...tunnel.Device) *Dataplane {
		d := &Dataplane{guarded: devices, tunnels: map[string]tunnel.Device{}}
		for _, one := range devices {
			d.tunnels[one.Name] = one
		}
		return d
	}
	both := with(device, second)

	guard := policy.TunnelGuard{Name: "VXLAN", Protocol: 17, Port: 4790, Nodes: "all-vxlan-net"}
	if got := both.tunnelGuards(dataplane.IPv6); !slices.Equal(got, []policy.TunnelGuard{guard}) {
		t.Errorf("guards of IPv6 %+v, want one", got)
	}
	if got := both.tunnelGuards(dataplane.IPv4); len(got) > 0 {
		t.Errorf("guards of IPv4 %+v, want none", got)
	}
	if got := with(device).tunnelSets(dataplane.IPv6)["all-vxlan-net"]; len(got) != 1 ||
		got[0].Net.String() != "fd00::12/128" {
		t.Errorf("set of IPv6 %v", got)
	}
	if got, there := both.tunnelSets(dataplane.IPv4)["all-vxlan-net"]; !there || len(got) > 0 {
		t.Errorf("set of IPv4 %v, want an empty one", got)
	}
	want := []policy.TunnelDevice{{Name: "vxlan4in6", Addr: addr("10.65.1.0")}}
	if got := both.tunnelDevices(dataplane.IPv4); !slices.Equal(got, want) {
		t.Errorf("devices of IPv4 %v, want %v", got, want)
	}
}
