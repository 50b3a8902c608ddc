package calc_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/wire"
)

func pointer[T any](v T) *T { return &v }

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func newNode(name, internal string, labels map[string]string, annotations ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{}}}
	for i := 0; i < len(annotations); i += 2 {
		n.Annotations["projectcalico.org/"+annotations[i]] = annotations[i+1]
	}
	if internal != "" {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name},
			{Type: corev1.NodeInternalIP, Address: internal}}
	}
	return n
}

// compute gives what an engine makes of resources.
func compute(t *testing.T, resources ...metav1.Object) (*world, []calc.Problem) {
	t.Helper()
	e, w := calc.New(), newWorld()
	for _, r := range resources {
		e.Upsert(r)
	}
	d := e.Flush()
	w.apply(t, d)
	return w, d.Problems
}

// ofKind checks the objects of one kind.
func (w *world) ofKind(t *testing.T, kind wire.Kind, want ...wire.Object) {
	t.Helper()
	wanted, got := map[string]wire.Object{}, map[string]wire.Object{}
	for _, o := range want {
		wanted[o.ID().Name] = o
	}
	for id, o := range w.objects {
		if id.Kind == kind {
			got[id.Name] = o
		}
	}
	if diff := cmp.Diff(wanted, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", kind, diff)
	}
}

func TestHostsAndTunnels(t *testing.T) {
	w, problems := compute(t,
		newNode("n1", "172.30.0.11", map[string]string{"rack": "a"}, "IPv4Address", "172.30.0.11/24", "ASNumber",
			"64513",
			// n2's, which nobody believes
			"IPv4VXLANTunnelAddr", "10.244.0.1", "VXLANTunnelMACAddr", "66:40:24:34:6b:4f",
			"IPv6Address", "fd00::11/64", "IPv6VXLANTunnelAddr", "fd01::1"),
		newNode("n2", "172.30.0.12", nil, "IPv4VXLANTunnelAddr", "10.244.1.1"),
		newNode("n3", "172.30.0.13", nil, "IPv4Address", "172.30.0.300/24", "ASNumber", "0"),
		newNode("n4", "", nil, "IPv4VXLANTunnelAddr", "10.244.2.1"),
	)
	w.ofKind(t, wire.KindHost,
		&wire.Host{Name: "n1", IPv4: netip.MustParsePrefix("172.30.0.11/24"),
			IPv6:     netip.MustParsePrefix("fd00::11/64"),
			ASNumber: 64513},
		&wire.Host{Name: "n2", IPv4: netip.MustParsePrefix("172.30.0.12/32")},
		&wire.Host{Name: "n3", IPv4: netip.MustParsePrefix("172.30.0.13/32")},
		&wire.Host{Name: "n4"},
	)
	w.ofKind(t, wire.KindTunnelEndpoint,
		&wire.TunnelEndpoint{Node: "n1", Kind: encap.VXLAN, Addr: netip.MustParseAddr("10.244.0.1"),
			MAC: wire.TunnelMAC("n1", 4), Outer: netip.MustParseAddr("172.30.0.11")},
		// 66, then what `printf n1-v6 | sha1sum` begins with; n2 likewise.
		&wire.TunnelEndpoint{Node: "n1", Kind: encap.VXLAN, Addr: netip.MustParseAddr("fd01::1"),
			MAC: []byte{0x66, 0x46, 0x32, 0x55, 0x72, 0x28}, Outer: netip.MustParseAddr("fd00::11")},
		&wire.TunnelEndpoint{Node: "n2", Kind: encap.VXLAN, Addr: netip.MustParseAddr("10.244.1.1"),
			MAC: []byte{0x66, 0x40, 0x24, 0x34, 0x76, 0xfc}, Outer: netip.MustParseAddr("172.30.0.12")},
	)
	if len(problems) != 1 || problems[0].Name != "n3" {
		t.Errorf("problems: %v, want one on n3", problems)
	}
}

// TestLabelsAreToldToTheirNodeAlone: a node whose labels change costs the other nodes nothing, and tells them nothing.
func TestLabelsAreToldToTheirNodeAlone(t *testing.T) {
	e, w := calc.New(), newWorld()
	flush := func(o metav1.Object) (changed []string, interest map[string]needs.Interest) {
		e.Upsert(o)
		d := e.Flush()
		w.apply(t, d)
		for _, o := range d.Upserts {
			changed = append(changed, o.ID().String())
		}
		if len(d.Deletes)+len(d.Sets) > 0 {
			t.Errorf("%s: deleted %v, changed %v", o.GetName(), d.Deletes, d.Sets)
		}
		return changed, d.Interest
	}
	expect := func(o metav1.Object, want ...string) {
		t.Helper()
		changed, interest := flush(o)
		if diff := cmp.Diff(want, changed); diff != "" || len(interest) > 0 {
			t.Errorf("%s %v: interest %v, changed (-want +got):\n%s", o.GetName(), o.GetLabels(), interest, diff)
		}
	}
	e.Upsert(&v3.BGPPeer{ObjectMeta: meta("tor"), Spec: v3.BGPPeerSpec{PeerIP: "172.31.0.1", ASNumber: 64700,
		NodeSelector: "rack == 'c'"}})
	for _, name := range []string{"n1", "n2"} {
		flush(newNode(name, "172.30.0."+name[1:], map[string]string{"rack": "a"}))
	}
	want := map[string]map[wire.ID]bool{}
	for _, node := range []string{"n1", "n2"} {
		want[node] = map[wire.ID]bool{{Kind: wire.KindBGP, Name: node}: true, {Kind: wire.KindNode, Name: node}: true}
		if id := (wire.ID{Kind: wire.KindNode, Name: node}); calc.ForEveryNode(id) {
			t.Errorf("%s goes to every node", id)
		}
	}
	if diff := cmp.Diff(want, w.needs); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}

	expect(newNode("n1", "172.30.0.1", map[string]string{"rack": "b", "beta": "yes"}), "Node/n1")
	w.ofKind(t, wire.KindNode, &wire.Node{Name: "n1", Labels: map[string]string{"rack": "b", "beta": "yes"}},
		&wire.Node{Name: "n2", Labels: map[string]string{"rack": "a"}})
	expect(newNode("n1", "172.30.0.1", map[string]string{"rack": "c"}), "BGP/n1", "Node/n1") // the peer selects it
	// which everybody has to know
	expect(newNode("n1", "172.30.0.9", map[string]string{"rack": "c"}), "Host/n1")
	expect(newNode("n1", "172.30.0.9", map[string]string{"rack": "c"}, "ASNumber", "65000"), "Host/n1", "BGP/n1")
	expect(newNode("n1", "172.30.0.9", map[string]string{}, "ASNumber", "65000"), "BGP/n1", "Node/n1")
	w.ofKind(t, wire.KindNode, &wire.Node{Name: "n1"}, &wire.Node{Name: "n2", Labels: map[string]string{"rack": "a"}})
	expect(newNode("n1", "172.30.0.9", nil, "ASNumber", "65000"))

	e.Delete(calc.KindNode, "", "n1")
	w.apply(t, e.Flush())
	delete(want, "n1")
	if diff := cmp.Diff(want, w.needs); diff != "" {
		t.Errorf("needs after the deletion of n1 (-want +got):\n%s", diff)
	}
	w.ofKind(t, wire.KindNode, &wire.Node{Name: "n2", Labels: map[string]string{"rack": "a"}})
}

// newBlock makes a block of 10.244.0.0/29 whose first addresses have the attributes given; nil is free.
func newBlock(affinity string, attributes ...map[string]string) *v3.IPAMBlock {
	b := &v3.IPAMBlock{ObjectMeta: meta("10-244-0-0-29")}
	b.Spec.CIDR, b.Spec.Affinity, b.Spec.Allocations = "10.244.0.0/29", affinity, make([]*int, 8)
	for i, a := range attributes {
		if a != nil {
			b.Spec.Allocations[i] = pointer(len(b.Spec.Attributes))
			b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{ActiveOwnerAttrs: a})
		}
	}
	return b
}

func TestRoutes(t *testing.T) {
	pool := func(name, cidr string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: meta(name), Spec: v3.IPPoolSpec{CIDR: cidr, VXLANMode: v3.VXLANModeAlways}}
	}
	on := func(node string) map[string]string { return map[string]string{"node": node} }
	route := func(dst, node string) *wire.Route {
		return &wire.Route{Dst: netip.MustParsePrefix(dst), Node: node, Pool: "small"}
	}
	large := pool("large", "10.0.0.0/8")
	large.CreationTimestamp = metav1.Now()
	w, problems := compute(t, newBlock("host:n1", on("n1"), nil, on("n2")), pool("small", "10.244.0.0/24"), large)
	w.ofKind(t, wire.KindRoute, route("10.244.0.0/29", "n1"), route("10.244.0.2/32", "n2"))
	w.ofKind(t, wire.KindPool,
		&wire.Pool{Name: "small", CIDR: netip.MustParsePrefix("10.244.0.0/24"), BlockSize: 26, VXLAN: wire.EncapAlways},
		&wire.Pool{Name: "large", CIDR: netip.MustParsePrefix("10.0.0.0/8"), BlockSize: 26, VXLAN: wire.EncapAlways,
			Disabled: true,
			Closed:   "10.0.0.0/8 overlaps 10.244.0.0/24 of IPPool small, which is older"})
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}

	// A block without a node has routes for its addresses alone.
	w, _ = compute(t, newBlock("virtual:load-balancer", on("n1")), pool("small", "10.244.0.0/24"))
	w.ofKind(t, wire.KindRoute, route("10.244.0.0/32", "n1"))

	// What the block lists as free is nobody's concern but IPAM's.
	listed := newBlock("host:n1", on("n2"))
	listed.Spec.Unallocated = []int{1, 2, 3, 4, 5, 6, 7, 1, 2}
	w, _ = compute(t, listed, pool("small", "10.244.0.0/24"))
	w.ofKind(t, wire.KindRoute, route("10.244.0.0/29", "n1"), route("10.244.0.0/32", "n2"))

	misnamed := newBlock("host:n1")
	misnamed.Name = "another"
	w, problems = compute(t, misnamed, pool("bad", "10.244.0.0"))
	w.ofKind(t, wire.KindRoute)
	w.ofKind(t, wire.KindPool)
	if len(problems) != 2 {
		t.Errorf("problems: %v, want one on the block and one on the pool", problems)
	}
}

// TestPoolThatLoses gives no addresses as long as the older one that it overlaps does. What it gave stays reachable,
// and a block in both is the winner's.
func TestPoolThatLoses(t *testing.T) {
	older := &v3.IPPool{ObjectMeta: meta("older"), Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16",
		VXLANMode: v3.VXLANModeAlways}}
	newer := &v3.IPPool{ObjectMeta: meta("newer"), Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/24"}}
	newer.CreationTimestamp = metav1.NewTime(older.CreationTimestamp.Add(time.Minute))
	off := older.DeepCopy()
	off.Spec.Disabled = true
	terminating := older.DeepCopy()
	terminating.DeletionTimestamp = &newer.CreationTimestamp
	block := newBlock("host:n1")
	const gives = ""
	tests := map[string]struct {
		older  *v3.IPPool // nil: deleted
		closed map[string]string
		of     string
	}{
		"both": {older, map[string]string{"older": gives, "newer": "overlaps 10.244.0.0/16 of " +
			"IPPool older"}, "older"},
		"the older is disabled":   {off, map[string]string{"older": "disabled", "newer": gives}, "newer"},
		"the older is terminated": {terminating, map[string]string{"older": "being deleted", "newer": gives}, "newer"},
		"the older is gone":       {nil, map[string]string{"newer": gives}, "newer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := calc.New()
			objects := map[wire.ID]wire.Object{}
			flush := func() {
				d := e.Flush()
				for _, object := range d.Upserts {
					objects[object.ID()] = object
				}
				for _, id := range d.Deletes {
					delete(objects, id)
				}
			}
			for _, object := range []metav1.Object{block, newer, older} {
				e.Upsert(object)
				flush()
			}
			if test.older == nil {
				e.Delete(calc.KindIPPool, "", "older")
			} else {
				e.Upsert(test.older)
			}
			flush()
			for _, object := range objects {
				switch o := object.(type) {
				case *wire.Pool:
					closed := test.closed[o.Name]
					if o.Disabled != (closed != gives) || closed != "disabled" && !strings.Contains(o.Closed, closed) ||
						closed == gives && o.Closed != "" {
						t.Errorf("pool %s: disabled %t, %q; want %q", o.Name, o.Disabled, o.Closed, closed)
					}
					delete(test.closed, o.Name)
				case *wire.Route:
					if o.Pool != test.of {
						t.Errorf("the block is of pool %q, want %q", o.Pool, test.of)
					}
				}
			}
			if len(test.closed) > 0 || objects[wire.ID{Kind: wire.KindRoute, Name: "10.244.0.0/29"}] == nil {
				t.Errorf("missing: pools %v, or the block's route", test.closed)
			}
		})
	}
}

// TestPoolThatIsBeingDeleted gives no addresses, and its block keeps its route until the pool is gone.
func TestPoolThatIsBeingDeleted(t *testing.T) {
	going := &v3.IPPool{ObjectMeta: meta("going"), Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16"}}
	going.DeletionTimestamp = &metav1.Time{Time: going.CreationTimestamp.Add(time.Minute)}
	e := calc.New()
	e.Upsert(newBlock("host:n1"))
	e.Upsert(going)
	var pool *wire.Pool
	var route *wire.Route
	for _, object := range e.Flush().Upserts {
		switch o := object.(type) {
		case *wire.Pool:
			pool = o
		case *wire.Route:
			route = o
		}
	}
	if pool == nil || !pool.Disabled || route == nil || route.Pool != "going" {
		t.Fatalf("being deleted: pool %+v, route %+v", pool, route)
	}
	e.Delete(calc.KindIPPool, "", "going")
	if deleted := e.Flush().Deletes; !slices.Contains(deleted, route.ID()) {
		t.Errorf("gone: deleted are %v, want the route among them", deleted)
	}
}

func TestBGPIsResolvedByNode(t *testing.T) {
	const cluster = "RouteReflectorClusterID"
	rack, reflector := map[string]string{"rack": "a"}, map[string]string{"reflector": "yes"}
	w, problems := compute(t,
		newNode("n1", "172.30.0.1", rack),
		newNode("n2", "172.30.0.2", nil, "ASNumber", "65000"),
		newNode("rr", "172.30.0.9", reflector, cluster, "224.0.0.1"),
		&v3.BGPConfiguration{ObjectMeta: meta("default"), Spec: v3.BGPConfigurationSpec{
			ASNumber: pointer[uint32](64600), NodeToNodeMeshEnabled: pointer(false), ListenPort: pointer(1179)}},
		&v3.BGPConfiguration{ObjectMeta: meta("node.n1"), Spec: v3.BGPConfigurationSpec{ListenPort: pointer(2179)}},
		&v3.BGPPeer{ObjectMeta: meta("tor"), Spec: v3.BGPPeerSpec{
			PeerIP: "172.31.0.1:1790", ASNumber: 64700, NodeSelector: "rack == 'a'", NextHopMode: "Keep",
			TTLSecurity: pointer(1)}},
		&v3.BGPPeer{ObjectMeta: meta("rr"), Spec: v3.BGPPeerSpec{NodeSelector: "!has(reflector)",
			PeerSelector: "has(reflector)"}},
		&v3.BGPPeer{ObjectMeta: meta("back"), Spec: v3.BGPPeerSpec{Node: "rr", PeerSelector: "rack == 'a'"}},
		&v3.BGPPeer{ObjectMeta: meta("nothing")},
	)
	addr := netip.MustParseAddr
	toReflector := wire.BGPPeer{Name: "rr/rr/4", Addr: addr("172.30.0.9"), Node: "rr", Port: 1179, ASNumber: 64600}
	w.ofKind(t, wire.KindBGP,
		&wire.BGP{Node: "n1", ASNumber: 64600, ListenPort: 2179, Peers: []wire.BGPPeer{
			toReflector,
			{Name: "tor", Addr: addr("172.31.0.1"), Port: 1790, ASNumber: 64700, KeepNextHop: true, TTLSecurity: 1},
		}},
		&wire.BGP{Node: "n2", ASNumber: 65000, ListenPort: 1179, Peers: []wire.BGPPeer{toReflector}},
		&wire.BGP{Node: "rr", ASNumber: 64600, ListenPort: 1179, Peers: []wire.BGPPeer{
			{Name: "back/n1/4", Addr: addr("172.30.0.1"), Node: "n1", Port: 2179, ASNumber: 64600,
				RouteReflectorPeer: true, ClusterID: "224.0.0.1"},
			{Name: "rr/n2/4", Addr: addr("172.30.0.2"), Node: "n2", Port: 1179, ASNumber: 65000},
		}},
	)
	if len(problems) != 1 || problems[0].Name != "nothing" {
		t.Errorf("problems: %v, want one on the peer that names nobody", problems)
	}
	if !w.needs["n1"][wire.ID{Kind: wire.KindBGP, Name: "n1"}] ||
		w.needs["n1"][wire.ID{Kind: wire.KindBGP, Name: "n2"}] {
		t.Errorf("n1 needs %v", w.needs["n1"])
	}
}

func TestRestartTimes(t *testing.T) {
	w, problems := compute(t,
		newNode("n1", "172.30.0.1", nil), newNode("n2", "172.30.0.2", nil),
		&v3.BGPConfiguration{ObjectMeta: meta("default"), Spec: v3.BGPConfigurationSpec{
			NodeToNodeMeshEnabled: pointer(true), NodeMeshMaxRestartTime: "5m"}},
		&v3.BGPConfiguration{ObjectMeta: meta("node.n2"), Spec: v3.BGPConfigurationSpec{
			ListenPort: pointer(2179), NodeMeshMaxRestartTime: "soon"}},
		&v3.BGPPeer{ObjectMeta: meta("bad"), Spec: v3.BGPPeerSpec{PeerIP: "172.31.0.1", ASNumber: 64700,
			MaxRestartTime: "-1s"}},
		&v3.BGPPeer{ObjectMeta: meta("tor"), Spec: v3.BGPPeerSpec{
			Node: "n1", PeerIP: "172.31.0.2", ASNumber: 64700, MaxRestartTime: "90s"}},
	)
	w.ofKind(t, wire.KindBGP,
		&wire.BGP{Node: "n1", ASNumber: 64512, ListenPort: 179, Mesh: true, MeshMaxRestartSeconds: 300,
			Peers: []wire.BGPPeer{
				{Name: "tor", Addr: netip.MustParseAddr("172.31.0.2"), ASNumber: 64700, MaxRestartSeconds: 90},
			}},
		&wire.BGP{Node: "n2", ASNumber: 64512, ListenPort: 2179, Mesh: true, MeshMaxRestartSeconds: 300},
	)
	var judged []string
	for _, v := range problems {
		judged = append(judged, v.Name+": "+v.Reason)
	}
	slices.Sort(judged)
	want := []string{`bad: spec.maxRestartTime: "-1s" is not a duration such as 120s`,
		`node.n2: spec.nodeMeshMaxRestartTime: "soon" is not a duration such as 120s`}
	if diff := cmp.Diff(want, judged); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestReflectorLearnsWhoThePeerIs: a peer given by address is no client while a reflector of the same cluster has
// the address, and is one from when that is gone.
func TestReflectorLearnsWhoThePeerIs(t *testing.T) {
	e, w := calc.New(), newWorld()
	for _, name := range []string{"n1", "n2"} {
		e.Upsert(newNode(name, "172.30.0."+name[1:], nil, "RouteReflectorClusterID", "224.0.0.1"))
	}
	e.Upsert(&v3.BGPPeer{ObjectMeta: meta("p"), Spec: v3.BGPPeerSpec{Node: "n1", PeerIP: "172.30.0.2",
		ASNumber: 64512}})
	client := func() bool {
		w.apply(t, e.Flush())
		return w.objects[wire.ID{Kind: wire.KindBGP, Name: "n1"}].(*wire.BGP).Peers[0].RouteReflectorPeer
	}
	if client() {
		t.Error("the other reflector of the cluster is a client")
	}
	e.Delete(calc.KindNode, "", "n2")
	if !client() {
		t.Error("the peer is no client, though no reflector has its address")
	}
}

func TestFelixConfiguration(t *testing.T) {
	w, problems := compute(t,
		&v3.FelixConfiguration{ObjectMeta: meta("default"), Spec: v3.FelixConfigurationSpec{
			VXLANPort: pointer(4790), BPFEnabled: pointer(false), LogSeverityScreen: pointer("Debug"),
			IPIPMTU: pointer(1400),
			FailsafeInboundHostPorts: []v3.ProtoPort{{Protocol: "UDP", Port: 68},
				{Protocol: "tcp", Net: "fd00::/8", Port: 22}},
			BPFLogFilters:     map[string]string{"eth0": "x", "all": "y"},
			ExternalNodesList: []string{"10.0.0.0/8", "10.1.1.1"},
		}},
		&v3.FelixConfiguration{ObjectMeta: meta("node.n1"), Spec: v3.FelixConfigurationSpec{VXLANPort: pointer(4791)}},
		&v3.FelixConfiguration{ObjectMeta: meta("stray"), Spec: v3.FelixConfigurationSpec{VXLANPort: pointer(1)}},
	)
	w.ofKind(t, wire.KindConfig,
		&wire.Config{Name: "global", Values: map[string]string{
			"VXLANPort": "4790", "BPFEnabled": "false", "LogSeverityScreen": "Debug", "IpInIpMtu": "1400",
			"FailsafeInboundHostPorts": "udp:68,tcp:[fd00::/8]:22", "BPFLogFilters": "all=y,eth0=x",
			"ExternalNodesCIDRList": "10.0.0.0/8,10.1.1.1"}},
		&wire.Config{Name: "node.n1", Values: map[string]string{"VXLANPort": "4791"}},
	)
	want := []calc.Problem{{Kind: calc.KindFelixConfiguration, Name: "stray",
		Reason: "it applies to no node: set spec.nodeSelector, or name it default or node.NAME"}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if len(w.needs) != 1 || len(w.needs["n1"]) != 1 {
		t.Errorf("needs: %v, want that of n1 for its own", w.needs)
	}
}

// TestUnusablePolicyIsolates: a subject that cannot be read selects what remains of it, and allows nothing.
func TestUnusablePolicyIsolates(t *testing.T) {
	r := seeded(t, 0)
	p := r.pod("ns0", "p0")
	p.Labels, p.Spec.NodeName, p.Spec.HostNetwork, p.Status.Phase = map[string]string{"app": "a"}, "n1", false,
		corev1.PodRunning
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns0", Name: "bad"}}
	np.Spec.PodSelector = metav1.LabelSelector{MatchLabels: p.Labels,
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Like", Values: []string{"x"}}}}
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	w, problems := compute(t, p, np)
	w.ofKind(t, wire.KindPolicy, &wire.Policy{Name: "knp.default/ns0/bad", Tier: "default"}, namespaceProfile())
	e := w.objects[wire.ID{Kind: wire.KindEndpoint, Name: "ns0/p0"}].(*wire.Endpoint)
	if len(e.Tiers) != 1 || len(e.Tiers[0].Ingress) != 1 {
		t.Errorf("the pod has %+v", e.Tiers)
	}
	if len(problems) != 1 || problems[0].Name != "bad" {
		t.Errorf("problems: %v", problems)
	}
}

// TestVerdictsAreTakenBack: an object that is mended or deleted is no longer reported.
func TestVerdictsAreTakenBack(t *testing.T) {
	e := calc.New()
	pool := &v3.IPPool{ObjectMeta: meta("p"), Spec: v3.IPPoolSpec{CIDR: "nonsense"}}
	e.Upsert(pool)
	if d := e.Flush(); len(d.Problems) != 1 || d.Problems[0].Reason == "" {
		t.Errorf("problems: %v", d.Problems)
	}
	e.Upsert(pool)
	if d := e.Flush(); !d.Empty() {
		t.Errorf("the same again: %v", d)
	}
	e.Delete(calc.KindIPPool, "", "p")
	if d := e.Flush(); len(d.Problems) != 1 || d.Problems[0].Reason != "" {
		t.Errorf("problems: %v", d.Problems)
	}
}

func TestStaticPodIsKnownByItsKubeletsUID(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: meta("proxy"), Spec: corev1.PodSpec{NodeName: "n1"}}
	pod.Namespace, pod.UID = "default", "of-the-mirror"
	pod.Annotations = map[string]string{"kubernetes.io/config.mirror": "of-the-kubelet"}
	w, _ := compute(t, newNode("n1", "172.30.0.1", nil), pod)
	e, err := get[*wire.Endpoint](w, "n1", wire.ID{Kind: wire.KindEndpoint, Name: "default/proxy"})
	if err != nil {
		t.Fatal(err)
	}
	if e.UID != "of-the-kubelet" {
		t.Errorf("the endpoint's UID is %q, which CNI does not know", e.UID)
	}
}

// TestNodeVerdictNamesAllThatIsWrong, in the same order each time.
func TestNodeVerdictNamesAllThatIsWrong(t *testing.T) {
	for range 10 {
		e := calc.New()
		e.Upsert(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{
			v3.NodeIPv4Address: "fd00::1/64", v3.NodeIPv6Address: "10.0.0.1/24", v3.NodeASNumber: "none"}}})
		d := e.Flush()
		if len(d.Problems) != 1 {
			t.Fatalf("problems: %v", d.Problems)
		}
		lines := strings.Split(d.Problems[0].Reason, "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], "IPv4Address") ||
			!strings.Contains(lines[1], "IPv6Address") ||
			!strings.Contains(lines[2], "ASNumber") {
			t.Fatalf("reason: %q", lines)
		}
	}
}

// namespaceProfile is that of all namespaces: what no policy decides is allowed.
func namespaceProfile() *wire.Policy {
	all := []wire.Rule{{Action: wire.Allow}}
	return &wire.Policy{Name: "profile/kns.", Ingress: all, Egress: all}
}

// TestNodesWithoutKubernetes: a Node of Calico's says what the annotations of one of Kubernetes do.
func TestNodesWithoutKubernetes(t *testing.T) {
	asn := uint32(64513)
	n := &v3.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"kubernetes.io/os": "linux",
		"rack": "a"}}}
	n.Spec = v3.NodeSpec{
		BGP: &v3.NodeBGPSpec{ASNumber: &asn, IPv4Address: "172.30.0.11/24", IPv6Address: "fd00::11/64",
			RouteReflectorClusterID: "224.0.0.1"},
		IPv4VXLANTunnelAddr: "10.244.0.1", VXLANTunnelMACAddr: "02:00:00:00:00:01",
		Addresses: []v3.NodeAddress{{Address: "172.30.0.11/24", Type: "CalicoNodeIP"},
			{Address: "172.31.0.11", Type: "InternalIP"}},
	}
	w, problems := compute(t, n)
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	w.ofKind(t, wire.KindHost, &wire.Host{Name: "n1", IPv4: netip.MustParsePrefix("172.30.0.11/24"),
		IPv6:     netip.MustParsePrefix("fd00::11/64"),
		ASNumber: 64513, RouteReflectorClusterID: "224.0.0.1"})
	w.ofKind(t, wire.KindNode, &wire.Node{Name: "n1", Labels: n.Labels})
	w.ofKind(t, wire.KindTunnelEndpoint, &wire.TunnelEndpoint{Node: "n1", Kind: encap.VXLAN,
		Addr: netip.MustParseAddr("10.244.0.1"), MAC: wire.TunnelMAC("n1", 4),
		Outer: netip.MustParseAddr("172.30.0.11")})
	e := calc.New()
	e.Upsert(n)
	e.Flush()
	e.Delete(calc.KindCalicoNode, "", "n1")
	if d := e.Flush(); len(d.Deletes) == 0 || len(e.Residue()) > 0 {
		t.Errorf("after the deletion %v is left", e.Residue())
	}
}
