package felix

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/felix/routing"
)

// TestTunnelRows: each tunnel that routing wants has what the other packages need for it, and nothing twice.
func TestTunnelRows(t *testing.T) {
	tunnel.New(nil, routing.Devices()) // panics if the driver cannot make a kind
	if len(routing.Devices()) != len(routing.Tunnels) {
		t.Error("two tunnels have a device of the same name")
	}
	for _, row := range routing.Tunnels {
		kind, ok := tunnelKinds[row.Kind]
		if !ok || kind.configure == nil || kind.guard.Name == "" || kind.guard.Protocol == 0 || kind.guard.Nodes == "" {
			t.Errorf("%s: the agent's row is %+v", row.Device, kind.guard)
		}
		published := slices.ContainsFunc(derive.TunnelAnnotations, func(a derive.TunnelAnnotation) bool {
			return a.Kind == row.Kind && dataplane.Family(a.Family) == row.Inner && a.Address != ""
		})
		if !published {
			t.Errorf("%s: no annotation publishes the address of the device", row.Device)
		}
	}
}

// TestTunnelFamilies: of a tunnel of IPv4 packets in IPv6 packets, the guard and its set are of IPv6, and the device that
// packets of the node leave by is of IPv4.
func TestTunnelFamilies(t *testing.T) {
	addr := netip.MustParseAddr
	device := tunnel.Device{Name: "vxlan4in6", Kind: encap.VXLAN, Family: dataplane.IPv4, Port: 4790,
		Local: addr("fd00::11"), Addr: addr("10.65.1.0"), Peers: []tunnel.Peer{{Addr: addr("10.65.2.0"), Outer: addr("fd00::12")}}}
	second := device
	second.Name, second.Family, second.Addr = "vxlan6in6", dataplane.IPv6, addr("fd01::1")
	tunnels := []tunnel.Device{device, second}
	a := &Agent{tunnels: tunnels}

	guard := policy.TunnelGuard{Name: "VXLAN", Protocol: 17, Port: 4790, Nodes: "all-vxlan-net"}
	if got := a.tunnelGuards(dataplane.IPv6); !slices.Equal(got, []policy.TunnelGuard{guard}) {
		t.Errorf("guards of IPv6 %+v, want one", got)
	}
	if got := a.tunnelGuards(dataplane.IPv4); len(got) > 0 {
		t.Errorf("guards of IPv4 %+v, want none", got)
	}
	if got := tunnelSets(dataplane.IPv6, tunnels[:1])["all-vxlan-net"]; len(got) != 1 || got[0].Net.String() != "fd00::12/128" {
		t.Errorf("set of IPv6 %v", got)
	}
	if got, there := tunnelSets(dataplane.IPv4, tunnels)["all-vxlan-net"]; !there || len(got) > 0 {
		t.Errorf("set of IPv4 %v, want an empty one", got)
	}
	want := []policy.TunnelDevice{{Name: "vxlan4in6", Addr: addr("10.65.1.0")}}
	if got := tunnelDevices(dataplane.IPv4, tunnels); !slices.Equal(got, want) {
		t.Errorf("devices of IPv4 %v, want %v", got, want)
	}
}
