package nodestatus

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/typha/wire"
)

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
	at     = time.Date(2026, 11, 30, 20, 48, 51, 0, time.FixedZone("", 3600))
)

// input is a node with a session of each type, one of them down, and with routes of each source.
func input() Input {
	mesh, other, router := addr("172.30.0.2"), addr("fd91::2"), addr("172.30.0.9")
	return Input{
		Version: "v1 (GoBGP v3)",
		Speaker: bgp.Status{ASNumber: 64512, RouterID: addr("172.30.0.1"), Started: at, Configured: at.Add(time.Minute),
			Peers: []bgp.PeerStatus{
				{Addr: mesh, State: bgp.Established, Since: at},
				{Addr: router, State: bgp.Active, Since: at},
				{Addr: other, State: bgp.Established, Since: at}}},
		Subnets: []Subnet{{prefix("172.30.0.1/24"), "eth0"}},
		Peers: []bgp.Peer{{BGPPeer: wire.BGPPeer{Addr: mesh}, Mesh: true},
			{BGPPeer: wire.BGPPeer{Addr: router, Global: true}}, {BGPPeer: wire.BGPPeer{Addr: other}}},
		Learned: []bgp.Route{
			{Dst: prefix("10.244.2.0/26"), NextHops: []netip.Addr{mesh}, Peer: mesh},
			{Dst: prefix("172.31.0.0/24"), NextHops: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")}, Peer: router}},
		Programmed: []Programmed{
			{route.Route{Dst: prefix("10.244.1.0/26"), Type: route.Blackhole}, true},
			{route.Route{Dst: prefix("10.244.1.3/32"), Hops: []route.Hop{{Device: "cali1"}}}, true},
			{route.Route{Dst: prefix("10.244.1.4/32"), Hops: []route.Hop{{Device: "cali2"}}}, false},
			{route.Route{Dst: prefix("10.244.2.0/26"), Protocol: route.ProtocolBGP,
				Hops: []route.Hop{{Device: "eth0", Gateway: mesh}}}, true},
			{route.Route{Dst: prefix("10.244.3.0/26"), Hops: []route.Hop{{Device: "vxlan.calico",
				Gateway: addr("10.244.3.0")}}}, true},
			{route.Route{Dst: prefix("fd00:244:1::/122"), Type: route.Blackhole}, true}},
		Others: []route.Route{{Dst: prefix("172.30.0.0/24"), Hops: []route.Hop{{Device: "eth0"}}},
			{Dst: prefix("0.0.0.0/0"), Hops: []route.Hop{{Device: "eth0", Gateway: addr("172.30.0.254")}}}},
	}
}

func answered(t *testing.T, in Input) (s v3.CalicoNodeStatusStatus, omitted int) {
	t.Helper()
	a, err := Answer(in)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Status) > wire.MaxStatusAnswer {
		t.Errorf("the answer has %d octets, at most %d are read", len(a.Status), wire.MaxStatusAnswer)
	}
	if err := json.Unmarshal(a.Status, &s); err != nil {
		t.Fatal(err)
	}
	return s, a.Omitted
}

func TestClasses(t *testing.T) {
	ready := v3.BGPDaemonStatus{State: "Ready", Version: "v1 (GoBGP v3)", RouterID: "172.30.0.1",
		LastBootTime: "2026-11-30 19:48:51", LastReconfigurationTime: "2026-11-30 19:49:51"}
	notReady := v3.BGPDaemonStatus{State: "NotReady"}
	since := "2026-11-30 19:48:51"
	from := func(kind v3.CalicoNodeRouteSourceType, peer string) v3.CalicoNodeRouteLearnedFrom {
		return v3.CalicoNodeRouteLearnedFrom{SourceType: kind, PeerIP: peer}
	}
	for name, c := range map[string]struct {
		asked  wire.StatusRequest
		change func(*Input)
		want   v3.CalicoNodeStatusStatus
	}{
		"agent": {asked: wire.StatusRequest{Agent: true},
			want: v3.CalicoNodeStatusStatus{Agent: v3.CalicoNodeAgentStatus{BIRDV4: ready, BIRDV6: notReady}}},
		"agent that is off": {asked: wire.StatusRequest{Agent: true},
			change: func(in *Input) { in.Speaker = bgp.Status{Off: "no pool needs it"} },
			want:   v3.CalicoNodeStatusStatus{Agent: v3.CalicoNodeAgentStatus{BIRDV4: notReady, BIRDV6: notReady}}},
		"agent that fails": {asked: wire.StatusRequest{Agent: true},
			change: func(in *Input) { in.Speaker.Error = "port 179 is taken" },
			want:   v3.CalicoNodeStatusStatus{Agent: v3.CalicoNodeAgentStatus{BIRDV4: notReady, BIRDV6: notReady}}},
		"BGP": {asked: wire.StatusRequest{BGP: true}, want: v3.CalicoNodeStatusStatus{BGP: v3.CalicoNodeBGPStatus{
			NumberEstablishedV4: 1, NumberNotEstablishedV4: 1, NumberEstablishedV6: 1,
			PeersV4: []v3.CalicoNodePeer{{PeerIP: "172.30.0.2", Type: "NodeMesh", State: "Established", Since: since},
				{PeerIP: "172.30.0.9", Type: "GlobalPeer", State: "Active", Since: since}},
			PeersV6: []v3.CalicoNodePeer{{PeerIP: "fd91::2", Type: "NodePeer", State: "Established", Since: since}}}}},
		"routes": {asked: wire.StatusRequest{Routes: true},
			want: v3.CalicoNodeStatusStatus{Routes: v3.CalicoNodeBGPRouteStatus{
				RoutesV4: []v3.CalicoNodeRoute{
					{Type: "FIB", Destination: "10.244.2.0/26", Gateway: "172.30.0.2", Interface: "eth0",
						LearnedFrom: from("NodeMesh", "172.30.0.2")},
					{Type: "RIB", Destination: "172.31.0.0/24", Gateway: "192.0.2.1",
						LearnedFrom: from("BGPPeer", "172.30.0.9")},
					{Type: "RIB", Destination: "172.31.0.0/24", Gateway: "192.0.2.2",
						LearnedFrom: from("BGPPeer", "172.30.0.9")},
					{Type: "FIB", Destination: "10.244.1.0/26", Gateway: "N/A", Interface: "blackhole",
						LearnedFrom: from("Static", "")},
					{Type: "FIB", Destination: "10.244.1.3/32", Gateway: "N/A", Interface: "cali1",
						LearnedFrom: from("Kernel", "")},
					{Type: "RIB", Destination: "10.244.1.4/32", Gateway: "N/A", Interface: "cali2",
						LearnedFrom: from("Kernel", "")},
					{Type: "FIB", Destination: "10.244.3.0/26", Gateway: "10.244.3.0", Interface: "vxlan.calico",
						LearnedFrom: from("Kernel", "")},
					{Type: "FIB", Destination: "172.30.0.0/24", Gateway: "N/A", Interface: "eth0",
						LearnedFrom: from("Direct", "")},
					{Type: "FIB", Destination: "0.0.0.0/0", Gateway: "172.30.0.254", Interface: "eth0",
						LearnedFrom: from("Kernel", "")}},
				RoutesV6: []v3.CalicoNodeRoute{
					{Type: "FIB", Destination: "fd00:244:1::/122", Gateway: "N/A", Interface: "blackhole",
						LearnedFrom: from("Static", "")}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			in := input()
			in.Asked = c.asked
			if c.change != nil {
				c.change(&in)
			}
			got, omitted := answered(t, in)
			if diff := cmp.Diff(c.want, got); diff != "" || omitted != 0 {
				t.Errorf("%d are left out; status (-want +got):\n%s", omitted, diff)
			}
		})
	}
}

// TestBounds: of a cluster with very many nodes and routes the answer is cut, and says by how much.
func TestBounds(t *testing.T) {
	in := Input{Asked: wire.StatusRequest{BGP: true, Routes: true}}
	const many = 3000
	for i := range many {
		peer := netip.AddrFrom16([16]byte{0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, byte(i >> 8), byte(i)})
		in.Speaker.Peers = append(in.Speaker.Peers, bgp.PeerStatus{Addr: peer, State: bgp.Established, Since: at})
		in.Learned = append(in.Learned, bgp.Route{Dst: netip.PrefixFrom(peer, 128), NextHops: []netip.Addr{peer},
			Peer: peer})
	}
	got, omitted := answered(t, in)
	peers, routes := len(got.BGP.PeersV6), len(got.Routes.RoutesV6)
	if peers != maxPeers || routes < 100 || routes > maxRoutes || omitted != 2*many-peers-routes ||
		got.BGP.NumberEstablishedV6 != many {
		t.Errorf("%d peers, %d routes, %d left out, %d sessions", peers, routes, omitted, got.BGP.NumberEstablishedV6)
	}
}
