package routing_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// TestTunnelDevice: the whole device, as the driver gets it.
func TestTunnelDevice(t *testing.T) {
	in := input(wire.Pool{VXLAN: wire.EncapAlways})
	want := []tunnel.Device{{Name: "vxlan.calico", Kind: encap.VXLAN, Family: dataplane.IPv4, Parent: "eth0",
		Local: addr("172.30.0.11"), Addr: addr("10.65.1.0"), MTU: 1450, MAC: wire.TunnelMAC("n1", 4), VNI: 4096,
		Port: 4789,
		Peers: []tunnel.Peer{
			{Addr: addr("10.65.2.0"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Outer: addr("172.30.0.12")},
			{Addr: addr("10.65.3.0"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 3}, Outer: addr("172.31.0.13")},
		}}}
	if diff := cmp.Diff(want, routing.Compute(in).Tunnels, compareAddrs); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

// TestAnotherKind: a kind that Felix does not support today, with an outer family that differs from the inner one,
// needs nothing but a row: device, peers and routes follow from it.
func TestAnotherKind(t *testing.T) {
	in := input(wire.Pool{IPIP: wire.EncapCrossSubnet})
	row := routing.Tunnel{Kind: encap.IPIP, Inner: dataplane.IPv4, Outer: dataplane.IPv6, Device: "tunl0"}
	in.Settings.Tunnels = append(in.Settings.Tunnels, routing.TunnelSettings{Tunnel: row})
	in.Self.Tunnels[encap.IPIP] = addr("10.65.1.1")
	in.Self.Uplinks[dataplane.IPv6] = routing.Uplink{Addr: prefix("fd00::11/64"), Device: "eth1"}
	for i, outer := range []string{"fd00::11", "fd00::12", "fd00::13"} {
		end := &wire.TunnelEndpoint{Node: fmt.Sprint("n", i+1), Kind: encap.IPIP,
			Addr: addr(fmt.Sprintf("10.65.%d.1", i+1)), Outer: addr(outer)}
		in.Endpoints[end.ID().Name] = end
	}
	out := routing.Compute(in)
	want := []tunnel.Device{{Name: "tunl0", Kind: encap.IPIP, Family: dataplane.IPv4, Parent: "eth1",
		Local: addr("fd00::11"),
		Addr:  addr("10.65.1.1"), MTU: 1460,
		Peers: []tunnel.Peer{{Addr: addr("10.65.2.1"), Outer: addr("fd00::12")},
			{Addr: addr("10.65.3.1"), Outer: addr("fd00::13")}}}}
	if diff := cmp.Diff(want, out.Tunnels, compareAddrs); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	routes := append([]string{}, local...)
	routes = append(routes, n2Direct, "10.65.3.0/26 via 10.65.3.1 dev tunl0 onlink proto 80")
	if diff := cmp.Diff(routes, show(table(in, out, own).Routes())); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if len(out.Problems) > 0 {
		t.Errorf("problems %q", out.Problems)
	}

	// An endpoint whose outer address is of the other family is none of this tunnel.
	in.Endpoints["n3/ipip/4"] = &wire.TunnelEndpoint{Node: "n3", Kind: encap.IPIP, Addr: addr("10.65.3.1"),
		Outer: addr("172.31.0.13")}
	out = routing.Compute(in)
	if got := len(out.Tunnels[0].Peers); got != 1 {
		t.Errorf("%d peers, want 1", got)
	}
	if diff := cmp.Diff(append(append([]string{}, local...), n2Direct),
		show(table(in, out, own).Routes())); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

// TestOverhead: the figures are those of Calico's documentation on MTUs.
func TestOverhead(t *testing.T) {
	for _, test := range []struct {
		kind  encap.Kind
		outer dataplane.Family
		want  int
	}{
		{encap.VXLAN, dataplane.IPv4, 50}, {encap.VXLAN, dataplane.IPv6, 70},
		{encap.IPIP, dataplane.IPv4, 20},
		{encap.WireGuard, dataplane.IPv4, 60}, {encap.WireGuard, dataplane.IPv6, 80},
	} {
		if got := (routing.Tunnel{Kind: test.kind, Outer: test.outer}).Overhead(); got != test.want {
			t.Errorf("%s in %s: %d, want %d", test.kind, test.outer, got, test.want)
		}
	}
}

func TestPodMTU(t *testing.T) {
	vxlan := func(mode wire.Encap, cidr string) map[string]*wire.Pool {
		return map[string]*wire.Pool{"p": {CIDR: prefix(cidr), VXLAN: mode}}
	}
	configured := tunnels()
	configured[0].ConfiguredMTU = 1300
	for name, test := range map[string]struct {
		network int
		tunnels []routing.TunnelSettings
		pools   map[string]*wire.Pool
		want    int
	}{
		"no tunnel":                      {1500, tunnels(), vxlan(wire.EncapNever, "10.65.0.0/16"), 1500},
		"VXLAN":                          {1500, tunnels(), vxlan(wire.EncapAlways, "10.65.0.0/16"), 1450},
		"across subnets":                 {9000, tunnels(), vxlan(wire.EncapCrossSubnet, "10.65.0.0/16"), 8950},
		"IPv6":                           {1500, tunnels(), vxlan(wire.EncapAlways, "fd01::/64"), 1430},
		"configured":                     {1500, configured, vxlan(wire.EncapAlways, "10.65.0.0/16"), 1300},
		"configured, of another family":  {1500, configured, vxlan(wire.EncapAlways, "fd01::/64"), 1430},
		"network unknown":                {0, tunnels(), vxlan(wire.EncapAlways, "10.65.0.0/16"), 0},
		"network unknown and configured": {0, configured, vxlan(wire.EncapAlways, "10.65.0.0/16"), 1300},
		"a kind that Felix cannot make": {1500, tunnels(),
			map[string]*wire.Pool{"p": {CIDR: prefix("10.65.0.0/16"), IPIP: wire.EncapAlways}}, 1500},
	} {
		t.Run(name, func(t *testing.T) {
			if got := routing.PodMTU(test.network, test.tunnels, test.pools); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
