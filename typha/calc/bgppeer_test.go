package calc_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

func bgpOf(t *testing.T, w *world, node string) *wire.BGP {
	t.Helper()
	b, _ := w.objects[wire.ID{Kind: wire.KindBGP, Name: node}].(*wire.BGP)
	if b == nil {
		t.Fatalf("%s has no BGP", node)
	}
	return b
}

func peersOf(t *testing.T, w *world, node string) (addrs []string) {
	t.Helper()
	for _, p := range bgpOf(t, w, node).Peers {
		addrs = append(addrs, p.Addr.String())
	}
	slices.Sort(addrs)
	return addrs
}

// The nodes of these tests: a reflector and two others.
func threeNodes() []metav1.Object {
	return []metav1.Object{newNode("r", "172.30.0.1", map[string]string{"rr": "true"}),
		newNode("n2", "172.30.0.2", nil), newNode("n3", "172.30.0.3", nil)}
}

func bgpPeer(name string, spec v3.BGPPeerSpec) *v3.BGPPeer {
	return &v3.BGPPeer{ObjectMeta: meta(name), Spec: spec}
}

// secret is a password.
func secret() *v3.BGPPassword {
	return &v3.BGPPassword{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}
}

// TestReversePeering: a session that one BGPPeer asks for between nodes is configured at both ends, unless
// reversePeering is Manual.
func TestReversePeering(t *testing.T) {
	for name, c := range map[string]struct {
		peers []*v3.BGPPeer
		want  map[string][]string // addresses by node
	}{
		"selectors": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{NodeSelector: "!has(rr)", PeerSelector: "has(rr)"})},
			map[string][]string{"r": {"172.30.0.2", "172.30.0.3"}, "n2": {"172.30.0.1"}, "n3": {"172.30.0.1"}},
		},
		"selectors, Manual": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{NodeSelector: "!has(rr)", PeerSelector: "has(rr)",
				ReversePeering: "Manual"})},
			map[string][]string{"r": nil, "n2": {"172.30.0.1"}, "n3": {"172.30.0.1"}},
		},
		"every node with the reflector": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{PeerSelector: "has(rr)"})},
			map[string][]string{"r": {"172.30.0.2", "172.30.0.3"}, "n2": {"172.30.0.1"}, "n3": {"172.30.0.1"}},
		},
		"every node with every one, once": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{PeerSelector: "all()"})},
			map[string][]string{"r": {"172.30.0.2", "172.30.0.3"}, "n2": {"172.30.0.1", "172.30.0.3"},
				"n3": {"172.30.0.1", "172.30.0.2"}},
		},
		"the address of a node": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.3", ASNumber: 64512})},
			map[string][]string{"r": nil, "n2": {"172.30.0.3"}, "n3": {"172.30.0.2"}},
		},
		"the address of a node, Manual": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.3", ASNumber: 64512,
				ReversePeering: "Manual"})},
			map[string][]string{"r": nil, "n2": {"172.30.0.3"}, "n3": nil},
		},
		"another speaker at the address of a node": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.3", ASNumber: 65000})},
			map[string][]string{"r": nil, "n2": {"172.30.0.3"}, "n3": nil},
		},
		"another port at the address of a node": {
			[]*v3.BGPPeer{bgpPeer("p", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.3:1790", ASNumber: 64512})},
			map[string][]string{"r": nil, "n2": {"172.30.0.3"}, "n3": nil},
		},
	} {
		objects := threeNodes()
		for _, p := range c.peers {
			objects = append(objects, p)
		}
		w, _ := compute(t, objects...)
		for node, want := range c.want {
			if got := peersOf(t, w, node); !slices.Equal(got, want) {
				t.Errorf("%s: %s has %v, want %v", name, node, got, want)
			}
		}
	}
}

// TestReverseSession: the reverse end has the settings that go with the forward end's, and gives way to a BGPPeer of
// its own.
func TestReverseSession(t *testing.T) {
	e, w := calc.New(), newWorld()
	for _, o := range []metav1.Object{
		newNode("r", "172.30.0.1", map[string]string{"rr": "true"}, "RouteReflectorClusterID", "224.0.0.1"),
		newNode("n2", "172.30.0.2", nil),
		&v3.BGPConfiguration{ObjectMeta: meta("node.n2"), Spec: v3.BGPConfigurationSpec{ListenPort: pointer(1790)}},
		bgpPeer("x", v3.BGPPeerSpec{Node: "n2", PeerSelector: "has(rr)", TTLSecurity: pointer(3),
			LocalASNumber: pointer[uint32](65009)}),
	} {
		e.Upsert(o)
	}
	w.apply(t, e.Flush())
	check := func(want ...wire.BGPPeer) {
		t.Helper()
		if diff := cmp.Diff(want, bgpOf(t, w, "r").Peers, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("sessions of the reflector (-want +got):\n%s", diff)
		}
	}
	addr := netip.MustParseAddr("172.30.0.2")
	check(wire.BGPPeer{Name: "x/n2/4", Addr: addr, Node: "n2", Port: 1790, ASNumber: 65009, TTLSecurity: 3})

	// It follows what the other end becomes.
	e.Upsert(&v3.BGPConfiguration{ObjectMeta: meta("node.n2"),
		Spec: v3.BGPConfigurationSpec{ListenPort: pointer(1791)}})
	e.Upsert(bgpPeer("x", v3.BGPPeerSpec{Node: "n2", PeerSelector: "has(rr)"}))
	w.apply(t, e.Flush())
	client := wire.BGPPeer{Name: "x/n2/4", Addr: addr, Node: "n2", Port: 1791, ASNumber: 64512,
		RouteReflectorPeer: true, ClusterID: "224.0.0.1"}
	check(client)
	e.Upsert(newNode("n2", "172.30.0.2", nil, "ASNumber", "65000"))
	w.apply(t, e.Flush())
	check(wire.BGPPeer{Name: "x/n2/4", Addr: addr, Node: "n2", Port: 1791, ASNumber: 65000})
	e.Upsert(newNode("n2", "172.30.0.2", nil))

	e.Upsert(bgpPeer("y", v3.BGPPeerSpec{Node: "r", PeerSelector: "!has(rr)", TTLSecurity: pointer(2)}))
	w.apply(t, e.Flush())
	client.Name, client.TTLSecurity = "y/n2/4", 2
	check(client)
}

// TestReverseOfAnAddress: the node at a peer's address follows the nodes that peer with it.
func TestReverseOfAnAddress(t *testing.T) {
	e, w := calc.New(), newWorld()
	e.Upsert(newNode("n2", "172.30.0.2", nil))
	e.Upsert(bgpPeer("p", v3.BGPPeerSpec{NodeSelector: "has(rack)", PeerIP: "172.30.0.2", ASNumber: 64512}))
	for _, step := range []struct {
		labels map[string]string
		addr   string
		want   []string
	}{
		{nil, "172.30.0.3", nil},
		{map[string]string{"rack": "a"}, "172.30.0.3", []string{"172.30.0.3"}},
		{map[string]string{"rack": "a"}, "172.30.0.4", []string{"172.30.0.4"}},
		{nil, "172.30.0.4", nil},
	} {
		e.Upsert(newNode("n3", step.addr, step.labels))
		w.apply(t, e.Flush())
		if got := peersOf(t, w, "n2"); !slices.Equal(got, step.want) {
			t.Errorf("labels %v, address %s: %v, want %v", step.labels, step.addr, got, step.want)
		}
	}
}

// TestFamiliesOfSessions: nodes with addresses of both families have two sessions, and one where the peer is an
// address.
func TestFamiliesOfSessions(t *testing.T) {
	for _, c := range []struct {
		spec v3.BGPPeerSpec
		want []string // of the other end
	}{
		{v3.BGPPeerSpec{Node: "n2", PeerSelector: "has(rr)"}, []string{"172.30.0.2", "fd00::2"}},
		{v3.BGPPeerSpec{Node: "n3", PeerSelector: "has(rr)"}, []string{"172.30.0.3"}},
		{v3.BGPPeerSpec{Node: "n2", PeerIP: "fd00::1", ASNumber: 64512}, []string{"fd00::2"}},
		{v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.1", ASNumber: 64512}, []string{"172.30.0.2"}},
	} {
		w, _ := compute(t, newNode("r", "172.30.0.1", map[string]string{"rr": "true"}, "IPv6Address", "fd00::1/64"),
			newNode("n2", "172.30.0.2", nil, "IPv6Address", "fd00::2/64"), newNode("n3", "172.30.0.3", nil),
			bgpPeer("p", c.spec))
		if got := peersOf(t, w, "r"); !slices.Equal(got, c.want) {
			t.Errorf("%+v: the other end has %v, want %v", c.spec, got, c.want)
		}
		if c.spec.Node == "n3" {
			if got := peersOf(t, w, "n3"); !slices.Equal(got, []string{"172.30.0.1"}) {
				t.Errorf("a node without IPv6 has %v", got)
			}
		}
	}
}

// TestNoPeerOfItself: a BGPPeer of all nodes with the address of one is none for that one, which has the reverse ends.
func TestNoPeerOfItself(t *testing.T) {
	for _, peerIP := range []string{"172.30.0.1", "172.30.0.1:1790"} {
		w, _ := compute(t, append(threeNodes(), bgpPeer("r", v3.BGPPeerSpec{PeerIP: peerIP, ASNumber: 64512}))...)
		if got := peersOf(t, w, "r"); slices.Contains(got, "172.30.0.1") {
			t.Errorf("%s: a node peers with itself: %v", peerIP, got)
		}
		if got := peersOf(t, w, "n2"); !slices.Equal(got, []string{"172.30.0.1"}) {
			t.Errorf("%s: another has %v", peerIP, got)
		}
	}
}

// TestPortOfANode: a peerIP without a port that is a node's has the port that the node listens on, also when that
// changes.
func TestPortOfANode(t *testing.T) {
	e, w := calc.New(), newWorld()
	for _, o := range append(threeNodes(), bgpPeer("a", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.1",
		ASNumber: 64512}),
		bgpPeer("b", v3.BGPPeerSpec{Node: "n3", PeerIP: "172.30.0.1", ASNumber: 65000})) {
		e.Upsert(o)
	}
	for _, port := range []uint16{1790, 1791} {
		e.Upsert(&v3.BGPConfiguration{ObjectMeta: meta("node.r"),
			Spec: v3.BGPConfigurationSpec{ListenPort: pointer(int(port))}})
		w.apply(t, e.Flush())
		if got := bgpOf(t, w, "n2").Peers; len(got) != 1 || got[0].Port != port {
			t.Errorf("the peer is %+v, want port %d", got, port)
		}
		if got := bgpOf(t, w, "r").Peers; len(got) != 1 || got[0].Addr != netip.MustParseAddr("172.30.0.2") {
			t.Errorf("the sessions of the node whose port changed are %+v, want that with n2", got)
		}
		if got := bgpOf(t, w, "n3").Peers; len(got) != 1 || got[0].Port != 0 {
			t.Errorf("a speaker of another AS at the node's address is %+v, want the default port", got)
		}
	}
}

// TestASNumberOfANode: a peerIP without an AS number is that of a node, whose number the session has, also when that
// changes. Without such a node there is no session, and the reason is told.
func TestASNumberOfANode(t *testing.T) {
	e, w := calc.New(), newWorld()
	for _, o := range append(threeNodes(), bgpPeer("node", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.1"}),
		bgpPeer("port", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.3:1790"}),
		bgpPeer("stranger", v3.BGPPeerSpec{Node: "n3", PeerIP: "172.30.0.9"}),
		bgpPeer("router", v3.BGPPeerSpec{Node: "n3", PeerIP: "172.30.0.8", ASNumber: 65000})) {
		e.Upsert(o)
	}
	type end struct {
		addr string
		asn  uint32
	}
	reasons := map[string]string{}
	for _, step := range []struct {
		what    string
		change  metav1.Object
		want    map[string][]end
		reasons map[string]string
	}{
		{"cluster's number", newNode("x", "172.30.0.7", nil),
			map[string][]end{"n2": {{"172.30.0.1", 64512}}, "r": {{"172.30.0.2", 64512}},
				"n3": {{"172.30.0.8", 65000}}}, map[string]string{
				"port": "spec.asNumber: is needed, because node n3 listens at port 179, not at 1790: no session is " +
					"opened",
				"stranger": "spec.asNumber: is needed, because no node has the address 172.30.0.9: " +
					"no session is opened"}},
		{"number of the node's configuration", &v3.BGPConfiguration{ObjectMeta: meta("node.r"),
			Spec: v3.BGPConfigurationSpec{ASNumber: pointer(uint32(65001))}},
			map[string][]end{"n2": {{"172.30.0.1", 65001}}, "r": {{"172.30.0.2", 64512}},
				"n3": {{"172.30.0.8", 65000}}}, nil},
		{"another number for the cluster", &v3.BGPConfiguration{ObjectMeta: meta("default"),
			Spec: v3.BGPConfigurationSpec{ASNumber: pointer(uint32(65002))}},
			map[string][]end{"n2": {{"172.30.0.1", 65001}}, "r": {{"172.30.0.2", 65002}},
				"n3": {{"172.30.0.8", 65000}}}, nil},
		{"a node gets the address", newNode("x", "172.30.0.9", nil),
			map[string][]end{"n3": {{"172.30.0.8", 65000}, {"172.30.0.9", 65002}}, "x": {{"172.30.0.3", 65002}}},
			map[string]string{"stranger": ""}},
		{"and loses it", newNode("x", "172.30.0.7", nil),
			map[string][]end{"n3": {{"172.30.0.8", 65000}}, "x": nil},
			map[string]string{"stranger": "spec.asNumber: is needed, because no node has the address 172.30.0.9: no " +
				"session is opened"}},
	} {
		e.Upsert(step.change)
		d := e.Flush()
		w.apply(t, d)
		for _, v := range d.Problems {
			reasons[v.Name] = v.Reason
		}
		for node, want := range step.want {
			var got []end
			for _, p := range bgpOf(t, w, node).Peers {
				got = append(got, end{p.Addr.String(), p.ASNumber})
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: sessions of %s are %v, want %v", step.what, node, got, want)
			}
		}
		for peer, want := range step.reasons {
			if reasons[peer] != want {
				t.Errorf("%s: %s: reason %q, want %q", step.what, peer, reasons[peer], want)
			}
		}
	}
	if reasons["node"]+reasons["router"] != "" {
		t.Errorf("reasons of peers that have sessions: %q", reasons)
	}
}

// TestPasswordsBar: no session that is to have a password is opened at either end, and no other one with the same peer.
func TestPasswordsBar(t *testing.T) {
	w, problems := compute(t, append(threeNodes(),
		bgpPeer("b", v3.BGPPeerSpec{NodeSelector: "!has(rr)", PeerSelector: "has(rr)", Password: secret()}),
		bgpPeer("a", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.30.0.1", ASNumber: 64512}),
		bgpPeer("c", v3.BGPPeerSpec{Node: "n2", PeerIP: "172.31.0.1", ASNumber: 64512, Password: &v3.BGPPassword{}}),
		&v3.BGPConfiguration{ObjectMeta: meta("node.n3"), Spec: v3.BGPConfigurationSpec{NodeMeshPassword: secret()}},
	)...)
	for node, want := range map[string]struct {
		open, barred []string
		mesh         bool
	}{
		"r":  {nil, []string{"172.30.0.2", "172.30.0.3"}, true},
		"n2": {[]string{"172.31.0.1"}, []string{"172.30.0.1"}, true},
		"n3": {nil, []string{"172.30.0.1"}, false},
	} {
		b := bgpOf(t, w, node)
		var barred []string
		for _, a := range b.Barred {
			barred = append(barred, a.String())
		}
		if got := peersOf(t, w, node); !slices.Equal(got, want.open) || !slices.Equal(barred, want.barred) ||
			b.Mesh != want.mesh {
			t.Errorf("%s has %v, barred %v, mesh %t, want %+v", node, got, barred, b.Mesh, want)
		}
	}
	checkReasons(t, problems, map[string]string{"b": "spec.password: ", "node.n3": "spec.nodeMeshPassword: "})
}

func checkReasons(t *testing.T, problems []calc.Problem, want map[string]string) {
	t.Helper()
	for _, v := range problems {
		if begin, wanted := want[v.Name]; !wanted || !strings.HasPrefix(v.Reason, begin) {
			t.Errorf("problem on %s: %s", v.Name, v.Reason)
		}
		delete(want, v.Name)
	}
	for name, begin := range want {
		t.Errorf("no problem on %s that begins with %s", name, begin)
	}
}

// TestSettingsOfSessions: each setting of a BGPPeer is applied, or there is a problem on it.
func TestSettingsOfSessions(t *testing.T) {
	w, problems := compute(t, newNode("n1", "172.30.0.1", nil),
		bgpPeer("a", v3.BGPPeerSpec{PeerIP: "172.31.0.1", ASNumber: 65000, SourceAddress: "None", NextHopMode: "Self",
			NumAllowedLocalASNumbers: pointer[uint32](2)}),
		bgpPeer("b", v3.BGPPeerSpec{PeerIP: "172.31.0.2", ASNumber: 65000, SourceAddress: "UseNodeIP",
			NextHopMode: "Auto", NumAllowedLocalASNumbers: pointer[uint32](1000)}),
		bgpPeer("c", v3.BGPPeerSpec{Node: "n1", PeerIP: "172.31.0.3", ASNumber: 65000, ReachableBy: "172.30.0.254"}),
		bgpPeer("d", v3.BGPPeerSpec{PeerIP: "172.31.0.4", ASNumber: 65000, ReversePeering: "Never"}),
		bgpPeer("e", v3.BGPPeerSpec{LocalWorkloadSelector: "all()", ASNumber: 65000}),
	)
	addr := netip.MustParseAddr
	want := []wire.BGPPeer{
		{Name: "a", Addr: addr("172.31.0.1"), ASNumber: 65000, Global: true, AnySource: true, NextHopSelf: true,
			AllowedLocalAS: 2},
		{Name: "b", Addr: addr("172.31.0.2"), ASNumber: 65000, Global: true, AllowedLocalAS: 255},
		{Name: "c", Addr: addr("172.31.0.3"), ASNumber: 65000},
		{Name: "d", Addr: addr("172.31.0.4"), ASNumber: 65000, Global: true},
	}
	if diff := cmp.Diff(want, bgpOf(t, w, "n1").Peers, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	checkReasons(t, problems, map[string]string{"c": "spec.reachableBy: ", "d": "spec.reversePeering: ",
		"e": "spec.localWorkloadSelector: "})
}

// TestSettingsOfBGPConfiguration: each setting is applied, or there is a problem on it.
func TestSettingsOfBGPConfiguration(t *testing.T) {
	w, problems := compute(t, newNode("n1", "172.30.0.1", nil), newNode("n2", "172.30.0.2", nil),
		&v3.BGPConfiguration{ObjectMeta: meta("default"), Spec: v3.BGPConfigurationSpec{
			BindMode: "NodeIP", LogSeverityScreen: "info", IgnoredInterfaces: []string{"eth9"},
			ServiceLoadBalancerAggregation: "Enabled",
			Communities: []v3.Community{{Name: "gold", Value: "65001:100"},
				{Name: "broken", Value: "70000:1"}},
			PrefixAdvertisements: []v3.PrefixAdvertisement{
				{CIDR: "10.244.0.1/16", Communities: []string{"gold", "65001:1:70000", "broken"}},
				{CIDR: "10.245.0.0/16", Communities: []string{"silver"}},
				{CIDR: "fd00::/64", Communities: []string{"65001:007"}},
			}}},
		&v3.BGPConfiguration{ObjectMeta: meta("node.n2"), Spec: v3.BGPConfigurationSpec{
			BindMode: "None", PrefixAdvertisements: []v3.PrefixAdvertisement{{CIDR: "10.246.0.0/16",
				Communities: []string{"65001:8"}}}}},
	)
	prefix := netip.MustParsePrefix
	w.ofKind(t, wire.KindBGP,
		&wire.BGP{Node: "n1", ASNumber: 64512, ListenPort: 179, Mesh: true, BindNodeIP: true,
			Advertisements: []wire.BGPAdvertisement{
				{CIDR: prefix("10.244.0.0/16"), Communities: []string{"65001:100", "65001:1:70000"}},
				{CIDR: prefix("fd00::/64"), Communities: []string{"65001:7"}}}},
		&wire.BGP{Node: "n2", ASNumber: 64512, ListenPort: 179, Mesh: true, Advertisements: []wire.BGPAdvertisement{
			{CIDR: prefix("10.246.0.0/16"), Communities: []string{"65001:8"}}}})
	checkReasons(t, problems, map[string]string{"default": `spec.prefixAdvertisements[0].communities[2]: "broken"`})

	for field, spec := range map[string]v3.BGPConfigurationSpec{
		"serviceClusterIPs":        {ServiceClusterIPs: []v3.ServiceClusterIPBlock{{CIDR: "10.96.0.0/12"}}},
		"serviceExternalIPs":       {ServiceExternalIPs: []v3.ServiceExternalIPBlock{{CIDR: "192.0.2.0/24"}}},
		"serviceLoadBalancerIPs":   {ServiceLoadBalancerIPs: []v3.ServiceLoadBalancerIPBlock{{CIDR: "192.0.2.0/24"}}},
		"localWorkloadPeeringIPV4": {LocalWorkloadPeeringIPV4: "192.0.2.1"},
		"localWorkloadPeeringIPV6": {LocalWorkloadPeeringIPV6: "2001:db8::1"},
		"ipv4NormalRoutePriority":  {IPv4NormalRoutePriority: pointer(1)},
		"ipv6NormalRoutePriority":  {IPv6NormalRoutePriority: pointer(1)},
		"logSeverityScreen":        {LogSeverityScreen: "Debug"},
		"prefixAdvertisements[0]":  {PrefixAdvertisements: []v3.PrefixAdvertisement{{CIDR: "all"}}},
	} {
		_, problems := compute(t, &v3.BGPConfiguration{ObjectMeta: meta("default"), Spec: spec})
		checkReasons(t, problems, map[string]string{"default": "spec." + field})
	}
}
