package routing_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// tunnels are the tunnels that Felix supports, with the defaults of the configuration.
func tunnels() (all []routing.TunnelSettings) {
	for _, t := range routing.Tunnels {
		all = append(all, routing.TunnelSettings{Tunnel: t, Port: 4789, VNI: 4096})
	}
	return all
}

// input is node n1 in a subnet with n2; n3 is in another. Each has a block of the pool.
func input(pool wire.Pool) routing.Input {
	pool.Name, pool.CIDR = "p", prefix("10.65.0.0/16")
	in := routing.Input{
		Family: dataplane.IPv4,
		Self: routing.Self{Node: "n1", Own: []netip.Addr{addr("172.30.0.11")},
			Uplinks: map[dataplane.Family]routing.Uplink{dataplane.IPv4: {Addr: prefix("172.30.0.11/24"),
				Device: "eth0"}},
			Tunnels: map[encap.Kind]netip.Addr{encap.VXLAN: addr("10.65.1.0")}},
		Underlay: []route.Route{{Dst: prefix("172.30.0.0/24"), Type: route.Unicast,
			Hops: []route.Hop{{Device: "eth0"}}}},
		Settings: routing.Settings{Protocol: 80, NetworkMTU: 1500, Tunnels: tunnels()},
		Hosts:    map[string]*wire.Host{}, Endpoints: map[string]*wire.TunnelEndpoint{},
		Pools: map[string]*wire.Pool{"p": &pool},
	}
	for i, host := range []string{"172.30.0.11/24", "172.30.0.12/24", "172.31.0.13/24"} {
		name := fmt.Sprint("n", i+1)
		in.Hosts[name] = &wire.Host{Name: name, IPv4: prefix(host)}
		end := &wire.TunnelEndpoint{Node: name, Kind: encap.VXLAN, Addr: addr(fmt.Sprintf("10.65.%d.0", i+1)),
			Outer: prefix(host).Addr(), MAC: []byte{2, 0, 0, 0, 0, byte(i + 1)}}
		in.Endpoints[end.ID().Name] = end
		in.Routes = append(in.Routes, &wire.Route{Dst: prefix(fmt.Sprintf("10.65.%d.0/26", i+1)), Node: name,
			Pool: "p"})
	}
	return in
}

// own is the workload of the node.
var own = routing.Workload{Name: "shop/web", Interface: "cali1",
	Addrs: []netip.Addr{addr("10.65.1.2"), addr("fd00::2")}}

// table returns the routes of an output with those to workloads.
func table(in routing.Input, out routing.Output, workloads ...routing.Workload) *routing.Table {
	t := routing.NewTable(in.Family)
	t.Configure(in.Settings)
	t.SetNetwork(out.Routes)
	for _, w := range workloads {
		t.SetWorkload(w)
	}
	return t
}

// desired returns the routes of an input with those to the node's workload.
func desired(in routing.Input) []route.Route { return table(in, routing.Compute(in), own).Routes() }

// show writes routes as ip does.
func show(routes []route.Route) []string {
	var lines []string
	for _, r := range routes {
		line := r.Dst.String()
		if r.Type == route.Blackhole {
			line = "blackhole " + line
		}
		for _, hop := range r.Hops {
			if hop.Gateway.IsValid() {
				line += " via " + hop.Gateway.String()
			}
			line += " dev " + hop.Device
			if hop.OnLink {
				line += " onlink"
			}
		}
		lines = append(lines, fmt.Sprint(line, " proto ", r.Protocol))
	}
	return lines
}

var local = []string{"blackhole 10.65.1.0/26 proto 80", "10.65.1.2/32 dev cali1 proto 80"}

const (
	n2Direct, n2Tunnel = "10.65.2.0/26 via 172.30.0.12 dev eth0 proto 80",
		"10.65.2.0/26 via 10.65.2.0 dev vxlan.calico onlink proto 80"
	n3Tunnel = "10.65.3.0/26 via 10.65.3.0 dev vxlan.calico onlink proto 80"
)

func TestModes(t *testing.T) {
	tests := []struct {
		name    string
		pool    wire.Pool
		change  func(*routing.Input)
		want    []string // besides local
		peers   int      // of the tunnel; -1 is no tunnel
		problem string
	}{
		{"VXLAN always", wire.Pool{VXLAN: wire.EncapAlways}, nil, []string{n2Tunnel, n3Tunnel}, 2, ""},
		{"VXLAN across subnets", wire.Pool{VXLAN: wire.EncapCrossSubnet}, nil, []string{n2Direct, n3Tunnel}, 2, ""},
		{"BGP programs", wire.Pool{}, nil, nil, -1, ""},
		{"Felix programs", wire.Pool{}, func(in *routing.Input) { in.Settings.NoEncap = true }, []string{n2Direct}, -1,
			""},
		{"no tunnel address yet", wire.Pool{VXLAN: wire.EncapCrossSubnet},
			func(in *routing.Input) { in.Self.Tunnels = nil },
			[]string{n2Direct}, -1, ""},
		{"peer without a tunnel yet", wire.Pool{VXLAN: wire.EncapAlways},
			func(in *routing.Input) { delete(in.Endpoints, "n3/vxlan/4") },
			[]string{n2Tunnel}, 1, ""},
		{"own address unknown", wire.Pool{VXLAN: wire.EncapCrossSubnet},
			func(in *routing.Input) { in.Self.Uplinks = nil }, nil, -1, ""},
		{"peer's address unknown", wire.Pool{VXLAN: wire.EncapCrossSubnet},
			func(in *routing.Input) { delete(in.Hosts, "n2") },
			[]string{n2Tunnel, n3Tunnel}, 2, ""},
		{"pool gone", wire.Pool{VXLAN: wire.EncapAlways}, func(in *routing.Input) { in.Pools = nil }, nil, -1, ""},
		{"IPIP", wire.Pool{IPIP: wire.EncapCrossSubnet}, nil, []string{n2Direct}, -1,
			"route 10.65.3.0/26: pool p needs IPIP"},
		{"learned beyond the stream", wire.Pool{VXLAN: wire.EncapCrossSubnet}, func(in *routing.Input) {
			in.Learned = []bgp.Route{
				{Dst: prefix("10.65.2.0/26"), NextHops: []netip.Addr{addr("172.30.0.99")}},
				{Dst: prefix("10.65.3.0/26"), NextHops: []netip.Addr{addr("172.31.0.13")}},
				{Dst: prefix("10.99.0.0/16"), NextHops: []netip.Addr{addr("172.30.0.1"), addr("172.30.0.2")}}}
		}, []string{n2Direct, n3Tunnel, "10.99.0.0/16 via 172.30.0.1 dev eth0 via 172.30.0.2 dev eth0 proto 12"}, 2,
			""},
		{"learned by BGP", wire.Pool{}, func(in *routing.Input) {
			in.Learned = []bgp.Route{{Dst: prefix("10.65.2.0/26"), NextHops: []netip.Addr{addr("172.30.0.12")}},
				{Dst: prefix("10.65.3.0/26"), NextHops: []netip.Addr{addr("172.31.0.13")}}}
		}, []string{"10.65.2.0/26 via 172.30.0.12 dev eth0 proto 12"}, -1, ""},
		{"borrowed address", wire.Pool{VXLAN: wire.EncapAlways}, func(in *routing.Input) {
			in.Routes = append(in.Routes, &wire.Route{Dst: prefix("10.65.1.9/32"), Node: "n2", Pool: "p"})
		}, []string{"10.65.1.9/32 via 10.65.2.0 dev vxlan.calico onlink proto 80", n2Tunnel, n3Tunnel}, 2, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := input(test.pool)
			if test.change != nil {
				test.change(&in)
			}
			out := routing.Compute(in)
			if diff := cmp.Diff(append(slices.Clone(local), test.want...),
				show(table(in, out, own).Routes())); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			peers := -1
			if len(out.Tunnels) > 0 {
				peers = len(out.Tunnels[0].Peers)
			}
			if peers != test.peers {
				t.Errorf("%d peers of the tunnel, want %d", peers, test.peers)
			}
			if got := strings.Join(out.Problems, "\n"); !strings.HasPrefix(got, test.problem) || got != "" &&
				test.problem == "" {
				t.Errorf("problems %q, want %q", got, test.problem)
			}
			slices.Reverse(in.Routes)
			if again := routing.Compute(in); !cmp.Equal(show(table(in, out, own).Routes()),
				show(table(in, again, own).Routes())) {
				t.Error("the order of the input matters")
			}
		})
	}
}

// TestTwoPodsOneAddress: the first keeps the route, and what the second lacks is said.
func TestTwoPodsOneAddress(t *testing.T) {
	in := input(wire.Pool{VXLAN: wire.EncapAlways})
	out := routing.Compute(in)
	second := routing.Workload{Name: "bank/vault", Interface: "cali2",
		Addrs: []netip.Addr{addr("10.65.1.2"), addr("10.65.1.3")}}
	both := table(in, out, second, own)
	want := append(slices.Clone(local), "10.65.1.3/32 dev cali2 proto 80", n2Tunnel, n3Tunnel)
	if diff := cmp.Diff(want, show(both.Routes())); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	problems := both.Problems()
	if len(problems) != 1 || !strings.Contains(problems[0],
		"pod bank/vault (cali2) gets no route: its address 10.65.1.2 is that of pod shop/web (cali1)") {
		t.Errorf("problems %q", problems)
	}
}

// TestFamilies: what is of the other family is left out.
func TestFamilies(t *testing.T) {
	in := input(wire.Pool{VXLAN: wire.EncapAlways})
	in.Family, in.Endpoints = dataplane.IPv6, nil
	out := routing.Compute(in)
	if diff := cmp.Diff([]string{"fd00::2/128 dev cali1 proto 80"}, show(table(in, out, own).Routes())); diff != "" ||
		len(out.Tunnels) > 0 {
		t.Errorf("IPv6 of an IPv4 network (-want +got):\n%s", diff)
	}
}
