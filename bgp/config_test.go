package bgp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/typha/wire"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func host(name, v4, v6 string, change ...func(*wire.Host)) *wire.Host {
	h := &wire.Host{Name: name}
	if v4 != "" {
		h.IPv4 = netip.MustParsePrefix(v4)
	}
	if v6 != "" {
		h.IPv6 = netip.MustParsePrefix(v6)
	}
	for _, f := range change {
		f(h)
	}
	return h
}

var (
	node1 = host("n1", "10.0.0.1/24", "fd00::1/64")
	node2 = host("n2", "10.0.0.2/24", "fd00::2/64")
)

func mesh(name, local, peer string) Peer {
	return Peer{LocalAddr: addr(local), Mesh: true, BGPPeer: wire.BGPPeer{Name: "Mesh_" + name, Addr: addr(peer),
		Port:     179,
		ASNumber: 64512, Node: name, TTLSecurity: 1, MaxRestartSeconds: 120}}
}

// Pools without encapsulation, whose routes come by BGP, and one whose routes do not.
var (
	plain4 = &wire.Pool{Name: "plain4", CIDR: netip.MustParsePrefix("10.1.0.0/16")}
	plain6 = &wire.Pool{Name: "plain6", CIDR: netip.MustParsePrefix("fd01::/48")}
	vxlan4 = &wire.Pool{Name: "vxlan4", CIDR: netip.MustParsePrefix("10.2.0.0/16"), VXLAN: wire.EncapAlways}
)

func TestConfigFor(t *testing.T) {
	for _, test := range []struct {
		name string
		in   Input
		want Config
		err  string
	}{{
		name: "no configuration yet is off",
		in:   Input{Node: "n1", Hosts: []*wire.Host{node1}},
	}, {
		name: "mesh of both families, without self and without a family that one side lacks",
		in: Input{Node: "n1", BGP: &wire.BGP{Node: "n1", ASNumber: 64512, Mesh: true},
			Hosts: []*wire.Host{node2, node1, host("n3", "10.0.0.3/24", "")}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179, Peers: []Peer{
			mesh("n2", "10.0.0.1", "10.0.0.2"), mesh("n3", "10.0.0.1", "10.0.0.3"), mesh("n2", "fd00::1", "fd00::2"),
		}},
	}, {
		name: "each node has its own AS number and port, and the restart time is for all",
		in: Input{Node: "n1", BGP: &wire.BGP{ASNumber: 64512, Mesh: true, ListenPort: 1790, MeshMaxRestartSeconds: 300},
			Hosts: []*wire.Host{
				host("n1", "10.0.0.1/24", "", func(h *wire.Host) { h.ASNumber = 65001 }),
				host("n2", "10.0.0.2/24", "", func(h *wire.Host) { h.ASNumber, h.BGPPort = 65002, 2790 }),
			}},
		want: Config{ASNumber: 65001, RouterID: addr("10.0.0.1"), ListenPort: 1790, Peers: []Peer{{
			LocalAddr: addr("10.0.0.1"), Mesh: true, BGPPeer: wire.BGPPeer{Name: "Mesh_n2", Addr: addr("10.0.0.2"),
				Port:     2790,
				ASNumber: 65002, Node: "n2", TTLSecurity: 1, MaxRestartSeconds: 300},
		}}},
	}, {
		name: "a route reflector is in nobody's mesh",
		in: Input{Node: "n1", BGP: &wire.BGP{ASNumber: 64512, Mesh: true},
			Hosts: []*wire.Host{node1, host("rr", "10.0.0.9/24", "",
				func(h *wire.Host) { h.RouteReflectorClusterID = "1.0.0.1" })}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179},
	}, {
		name: "a route reflector has no mesh and passes exportable pools on",
		in: Input{Node: "rr",
			BGP: &wire.BGP{ASNumber: 64512, Mesh: true, Peers: []wire.BGPPeer{{
				Name: "clients-n1", Addr: addr("10.0.0.1"), ASNumber: 64512, RouteReflectorPeer: true,
				ClusterID: "1.0.0.1",
			}}},
			Hosts: []*wire.Host{node1, host("rr", "10.0.0.9/24", "",
				func(h *wire.Host) { h.RouteReflectorClusterID = "1.0.0.1" })},
			Pools: []*wire.Pool{
				{Name: "b", CIDR: netip.MustParsePrefix("10.3.0.0/16")},
				{Name: "quiet", CIDR: netip.MustParsePrefix("10.2.0.0/16"), DisableBGPExport: true},
				{Name: "a", CIDR: netip.MustParsePrefix("10.1.0.0/16")},
			}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.9"), ListenPort: 179,
			PassOn: prefixes("10.1.0.0/16", "10.3.0.0/16"),
			Peers: []Peer{{LocalAddr: addr("10.0.0.9"), BGPPeer: wire.BGPPeer{Name: "clients-n1",
				Addr: addr("10.0.0.1"), Port: 179,
				ASNumber: 64512, RouteReflectorPeer: true, ClusterID: "1.0.0.1", MaxRestartSeconds: 120}}}},
	}, {
		name: "a BGPPeer keeps its settings and replaces the mesh session to its address",
		in: Input{Node: "n1", Hosts: []*wire.Host{node1, host("n2", "10.0.0.2/24", "")},
			BGP: &wire.BGP{ASNumber: 64512, Mesh: true, Peers: []wire.BGPPeer{{
				Name: "special", Addr: addr("10.0.0.2"), Port: 1179, ASNumber: 65000, LocalASNumber: 65010,
				KeepNextHop: true, TTLSecurity: 2, MaxRestartSeconds: 30,
			}}}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179, Peers: []Peer{{
			LocalAddr: addr("10.0.0.1"), BGPPeer: wire.BGPPeer{Name: "special", Addr: addr("10.0.0.2"), Port: 1179,
				ASNumber:      65000,
				LocalASNumber: 65010, KeepNextHop: true, TTLSecurity: 2, MaxRestartSeconds: 30},
		}}},
	}, {
		name: "a session from the address that the kernel chooses",
		in: Input{Node: "n1", Hosts: []*wire.Host{host("n1", "10.0.0.1/24", "")},
			BGP: &wire.BGP{ASNumber: 64512, Peers: []wire.BGPPeer{
				{Name: "any", Addr: addr("fd00::9"), ASNumber: 65000, AnySource: true, NextHopSelf: true,
					AllowedLocalAS: 3}}}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179, Peers: []Peer{{
			BGPPeer: wire.BGPPeer{Name: "any", Addr: addr("fd00::9"), Port: 179, ASNumber: 65000, AnySource: true,
				NextHopSelf:    true,
				AllowedLocalAS: 3, MaxRestartSeconds: 120},
		}}},
	}, {
		name: "barred addresses have no session, also not one of the mesh",
		in: Input{Node: "n1", Hosts: []*wire.Host{node1, node2},
			BGP: &wire.BGP{ASNumber: 64512, Mesh: true, Barred: []netip.Addr{addr("10.0.0.2")}}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179,
			Peers: []Peer{mesh("n2", "fd00::1", "fd00::2")}},
		err: "BGP peer 10.0.0.2: a session with it needs a password, which no session can have",
	}, {
		name: "where to listen and what to add to routes",
		in: Input{Node: "n1", Hosts: []*wire.Host{node1},
			BGP: &wire.BGP{ASNumber: 64512, BindNodeIP: true, Advertisements: []wire.BGPAdvertisement{
				{CIDR: netip.MustParsePrefix("10.1.0.0/16"), Communities: []string{"1:2"}}}}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179,
			ListenOn: []netip.Addr{addr("10.0.0.1"), addr("fd00::1")},
			Advertisements: []wire.BGPAdvertisement{{CIDR: netip.MustParsePrefix("10.1.0.0/16"),
				Communities: []string{"1:2"}}}},
	}, {
		name: "what cannot be a peer is left out and named",
		in: Input{Node: "n1", Hosts: []*wire.Host{host("n1", "10.0.0.1/24", "")},
			BGP: &wire.BGP{ASNumber: 64512, Peers: []wire.BGPPeer{
				{Name: "a", Addr: addr("10.0.0.7"), ASNumber: 65000},
				{Name: "b", Addr: addr("10.0.0.7"), ASNumber: 65001},
				{Name: "six", Addr: addr("fd00::7"), ASNumber: 65001},
			}}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179, Peers: []Peer{{
			LocalAddr: addr("10.0.0.1"), BGPPeer: wire.BGPPeer{Name: "a", Addr: addr("10.0.0.7"), Port: 179,
				ASNumber:          65000,
				MaxRestartSeconds: 120}}}},
		err: "BGP peer six (fd00::7): the node has no address of that IP family\nBGP peer b: 10.0.0.7 is already " +
			"the peer of a",
	}, {
		name: "announced is what is on the node and in no pool that forbids it",
		in: Input{Node: "n1", BGP: &wire.BGP{ASNumber: 64512}, Hosts: []*wire.Host{node1},
			Pools: []*wire.Pool{{Name: "quiet", DisableBGPExport: true}, {Name: "loud"}},
			Routes: []*wire.Route{
				{Dst: netip.MustParsePrefix("10.1.0.64/26"), Node: "n1", Pool: "loud"},
				{Dst: netip.MustParsePrefix("10.1.0.0/26"), Node: "n1", Pool: "loud"},
				{Dst: netip.MustParsePrefix("10.1.0.200/32"), Node: "n1", Pool: "loud"},
				{Dst: netip.MustParsePrefix("10.2.0.0/26"), Node: "n1", Pool: "quiet"},
				{Dst: netip.MustParsePrefix("10.1.0.128/26"), Node: "n2", Pool: "loud"},
			}},
		want: Config{ASNumber: 64512, RouterID: addr("10.0.0.1"), ListenPort: 179,
			Announce: prefixes("10.1.0.0/26", "10.1.0.64/26", "10.1.0.200/32")},
	}, {
		name: "an IPv6 node has an identifier all the same",
		in:   Input{Node: "n1", BGP: &wire.BGP{ASNumber: 64512}, Hosts: []*wire.Host{host("n1", "", "fd00::1/64")}},
		want: Config{ASNumber: 64512, RouterID: addr("5.53.220.0"), ListenPort: 179},
	}} {
		t.Run(test.name, func(t *testing.T) {
			if test.in.Pools == nil {
				test.in.Pools = []*wire.Pool{plain4, plain6}
			}
			got, err := ConfigFor(test.in)
			others := cmpopts.IgnoreFields(Config{}, "Off", "Pools", "Confirmed")
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
				others); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != test.err {
				t.Errorf("error %q, want %q", text, test.err)
			}
		})
	}
}

// The order in which the stream delivers must not matter: an unchanged configuration must compare equal.
func TestConfigForIgnoresOrder(t *testing.T) {
	in := Input{Node: "n1", BGP: &wire.BGP{ASNumber: 64512, Mesh: true}, Pools: []*wire.Pool{plain4, plain6},
		// The last has an address of another node.
		Hosts: []*wire.Host{node1, node2, host("n3", "10.0.0.3/24", "fd00::3/64"), host("n4", "10.0.0.3/24", "")},
		Routes: []*wire.Route{
			{Dst: netip.MustParsePrefix("10.1.0.0/26"), Node: "n1"},
			{Dst: netip.MustParsePrefix("10.1.1.0/26"), Node: "n1"},
			{Dst: netip.MustParsePrefix("10.1.2.0/26"), Node: "n2"},
			{Dst: netip.MustParsePrefix("10.1.3.0/26"), Node: "n2"},
		}}
	want, _ := ConfigFor(in)
	slices.Reverse(in.Hosts)
	slices.Reverse(in.Routes)
	got, _ := ConfigFor(in)
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("order matters (-first +reversed):\n%s", diff)
	}
	if !strings.HasPrefix(want.Peers[0].Name, "Mesh_") {
		t.Errorf("peer %q, want a mesh peer", want.Peers[0].Name)
	}
}

// TestWhoNeedsTheSpeaker: it has peers only where a BGPPeer or a pool gives it any, and says why it has none.
func TestWhoNeedsTheSpeaker(t *testing.T) {
	crossSubnet := &wire.Pool{Name: "cross", CIDR: netip.MustParsePrefix("10.3.0.0/16"), VXLAN: wire.EncapCrossSubnet}
	quiet := &wire.Pool{Name: "quiet", CIDR: netip.MustParsePrefix("10.4.0.0/16"), DisableBGPExport: true}
	services := &wire.Pool{Name: "services", CIDR: netip.MustParsePrefix("10.5.0.0/16"),
		AllowedUses: []string{"LoadBalancer"}}
	tor := []wire.BGPPeer{{Name: "tor", Addr: addr("10.0.0.254"), ASNumber: 65000}}
	reflector := host("n1", "10.0.0.1/24", "", func(h *wire.Host) { h.RouteReflectorClusterID = "1.0.0.1" })
	for name, c := range map[string]struct {
		self  *wire.Host
		bgp   wire.BGP
		pools []*wire.Pool
		peers []string
		off   string
	}{
		"a pool without encapsulation": {node1, wire.BGP{Mesh: true}, []*wire.Pool{plain4, vxlan4},
			[]string{"10.0.0.2"}, ""},
		"one of IPv6": {node1, wire.BGP{Mesh: true}, []*wire.Pool{plain6, vxlan4}, []string{"fd00::2"},
			""},
		"both": {node1, wire.BGP{Mesh: true}, []*wire.Pool{plain4, plain6},
			[]string{"10.0.0.2", "fd00::2"}, ""},
		"VXLAN alone": {node1, wire.BGP{Mesh: true}, []*wire.Pool{vxlan4, crossSubnet}, nil,
			"no IP pool needs the node-to-node mesh"},
		"not to be exported": {node1, wire.BGP{Mesh: true}, []*wire.Pool{quiet, vxlan4}, nil,
			"no IP pool needs the node-to-node mesh"},
		"addresses of Services": {node1, wire.BGP{Mesh: true}, []*wire.Pool{services, vxlan4}, nil,
			"no IP pool needs the node-to-node mesh"},
		"no pool": {node1, wire.BGP{Mesh: true}, nil, nil,
			"no IP pool needs the node-to-node mesh"},
		"no mesh": {node1, wire.BGP{}, []*wire.Pool{plain4}, nil, "the node-to-node mesh is off"},
		"a reflector without clients": {reflector, wire.BGP{Mesh: true}, []*wire.Pool{plain4}, nil,
			"a route reflector takes no part"},
		"VXLAN and a router": {node1, wire.BGP{Mesh: true, Peers: tor}, []*wire.Pool{vxlan4},
			[]string{"10.0.0.254"}, ""},
		"no mesh and a router": {node1, wire.BGP{Peers: tor}, []*wire.Pool{plain4}, []string{"10.0.0.254"}, ""},
	} {
		c.bgp.ASNumber = 64512
		got, err := ConfigFor(Input{Node: "n1", BGP: &c.bgp, Hosts: []*wire.Host{c.self, node2}, Pools: c.pools})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var peers []string
		for _, p := range got.Peers {
			peers = append(peers, p.Addr.String())
		}
		if !slices.Equal(peers, c.peers) || (got.Off == "") != (c.off == "") || !strings.Contains(got.Off, c.off) {
			t.Errorf("%s: peers %v, off %q, want %v and %q", name, peers, got.Off, c.peers, c.off)
		}
	}
	got, _ := ConfigFor(Input{Node: "n1", BGP: &wire.BGP{ASNumber: 64512, Mesh: true}, Hosts: []*wire.Host{node1},
		Pools: []*wire.Pool{plain4}})
	if want := "no other node is in the node-to-node mesh"; !strings.HasSuffix(got.Off, want) {
		t.Errorf("alone: off %q, want %q", got.Off, want)
	}
}

// TestPeersThatAreNodes: of a session with another node the speaker knows which node it is, what IPAM has there, and
// whether both are on one link, as each of them sees it.
func TestPeersThatAreNodes(t *testing.T) {
	block := func(dst, node string) *wire.Route {
		return &wire.Route{Dst: netip.MustParsePrefix(dst), Node: node, Pool: "plain4"}
	}
	in := Input{Node: "n1",
		BGP: &wire.BGP{ASNumber: 64512, Mesh: true, Peers: []wire.BGPPeer{
			{Name: "hops", Addr: addr("10.0.0.6"), ASNumber: 64512, Node: "explicit", TTLSecurity: 3},
			{Name: "rr", Addr: addr("10.0.0.9"), ASNumber: 64512, Node: "rr"},
			{Name: "tor", Addr: addr("10.0.0.254"), ASNumber: 65000},
			{Name: "unknown", Addr: addr("10.0.0.8"), ASNumber: 64512, Node: "unknown"},
		}},
		Hosts: []*wire.Host{node1, node2,
			host("elsewhere", "10.7.0.1/24", ""),
			host("explicit", "10.0.0.6/24", ""),
			host("narrow", "10.0.0.5/32", ""), // sees nobody on its link
			host("rr", "10.0.0.9/24", "", func(h *wire.Host) { h.RouteReflectorClusterID = "1.0.0.1" })},
		Pools: []*wire.Pool{vxlan4, plain4},
		Routes: []*wire.Route{block("10.1.2.64/26", "n2"), block("10.1.2.0/26", "n2"), block("10.1.1.7/32", "n2"),
			block("10.1.1.0/26", "n1"),
			block("10.1.9.0/26", "rr"), block("10.1.7.0/26", "elsewhere")},
	}
	got, err := ConfigFor(in)
	if err != nil {
		t.Fatal(err)
	}
	type end struct {
		Node      string
		Reflector bool
		Hops      uint8
	}
	ends := map[string]end{}
	for _, p := range got.Peers {
		ends[p.Addr.String()] = end{p.Node, p.Reflector, p.TTLSecurity}
	}
	if diff := cmp.Diff(map[string]end{
		"10.0.0.2": {"n2", false, 1}, "10.7.0.1": {"elsewhere", false, 0}, "10.0.0.6": {"explicit", false, 3},
		"10.0.0.5": {"narrow", false, 0},
		"10.0.0.9": {"rr", true, 1}, "10.0.0.254": {}, "10.0.0.8": {"unknown", false, 0},
	}, ends); diff != "" {
		t.Errorf("ends of sessions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]netip.Prefix{
		"n2": prefixes("10.1.1.7/32", "10.1.2.0/26", "10.1.2.64/26"), "elsewhere": prefixes("10.1.7.0/26"),
		"explicit": nil, "narrow": nil, "unknown": nil,
	}, got.Confirmed, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("confirmed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(prefixes("10.1.0.0/16", "10.2.0.0/16"), got.Pools,
		cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
}
