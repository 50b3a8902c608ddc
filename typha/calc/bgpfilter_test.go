package calc_test

import (
	"net/netip"
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

// sessionsOf gives the sessions of node n1 in a delta that has them.
func sessionsOf(t *testing.T, d calc.Delta) []wire.BGPPeer {
	t.Helper()
	for _, o := range d.Upserts {
		if b, ok := o.(*wire.BGP); ok && b.Node == "n1" {
			return b.Peers
		}
	}
	t.Fatalf("no BGP object of n1 in %+v", d)
	return nil
}

func TestBGPFiltersAreResolvedBySession(t *testing.T) {
	e := calc.New()
	number := func(n int) *int { return &n }
	length := func(n int32) *int32 { return &n }
	e.Upsert(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{
		v3.NodeIPv4Address: "172.30.0.11/24", v3.NodeIPv6Address: "fd00::11/64"}}})
	for name, spec := range map[string]v3.BGPPeerSpec{
		"a-four": {PeerIP: "172.30.0.1", ASNumber: 65001, Filters: []string{"first", "second"}, KeepaliveTime: "20s"},
		"b-six":  {PeerIP: "fd00::1", ASNumber: 64512, Filters: []string{"first"}},
	} {
		e.Upsert(&v3.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec})
	}
	e.Upsert(&v3.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: "first"}, Spec: v3.BGPFilterSpec{
		ImportV4: []v3.BGPFilterRuleV4{
			{Action: v3.Accept, CIDR: "10.0.0.0/8", MatchOperator: v3.MatchOperatorNotEqual,
				PeerType: v3.BGPFilterPeerTypeEBGP},
			{Action: v3.Accept, PeerType: v3.BGPFilterPeerTypeIBGP},
			{Action: v3.Accept, Interface: "eth0"},
			{Action: v3.Reject, Priority: number(3)},
		},
		ExportV6: []v3.BGPFilterRuleV6{{Action: v3.Accept, CIDR: "fd00::/8", MatchOperator: v3.MatchOperatorIn,
			PrefixLength: &v3.BGPFilterPrefixLengthV6{Max: length(64)}, Source: v3.BGPFilterSourceRemotePeers,
			Operations: []v3.BGPFilterOperation{
				{PrependASPath: &v3.BGPFilterPrependASPath{Prefix: []uint32{2}}},
				{PrependASPath: &v3.BGPFilterPrependASPath{Prefix: []uint32{1}}},
				{AddCommunity: &v3.BGPFilterAddCommunity{Value: "1:2"}}}}},
	}})
	e.Upsert(&v3.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Spec: v3.BGPFilterSpec{
		ImportV4: []v3.BGPFilterRuleV4{{Action: v3.Reject,
			Communities: &v3.BGPFilterCommunityMatch{Values: []v3.BGPCommunityValue{"7:7"}}}}}})
	d := e.Flush()
	want := []wire.BGPPeer{
		{Name: "a-four", Addr: netip.MustParseAddr("172.30.0.1"), ASNumber: 65001, Global: true, KeepaliveSeconds: 20,
			Import: []wire.BGPRule{
				{CIDR: netip.MustParsePrefix("10.0.0.0/8"), MinLength: 8, MaxLength: 8, NotCIDR: true},
				{Reject: true},
				{Reject: true, Community: "7:7"},
			}},
		{Name: "b-six", Addr: netip.MustParseAddr("fd00::1"), ASNumber: 64512, Global: true, Export: []wire.BGPRule{
			{CIDR: netip.MustParsePrefix("fd00::/8"), MinLength: 8, MaxLength: 64, Learned: true,
				AddCommunities: []string{"1:2"}, PrependASPath: []uint32{1, 2}}}},
	}
	if diff := cmp.Diff(want, sessionsOf(t, d), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("sessions differ (-want +got):\n%s", diff)
	}
	if len(d.Problems) != 1 || d.Problems[0].Name != "first" ||
		!strings.Contains(d.Problems[0].Reason, "spec.importV4[2].interface") {
		t.Errorf("problems %+v, want one of the rule that names an interface", d.Problems)
	}

	e.Delete(calc.KindBGPFilter, "", "first")
	closed := []wire.BGPRule{{Reject: true}}
	for _, s := range sessionsOf(t, e.Flush()) {
		if diff := cmp.Diff([][]wire.BGPRule{closed, closed}, [][]wire.BGPRule{s.Import, s.Export},
			cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("rules of session %s, whose filter was deleted (-want +got):\n%s", s.Name, diff)
		}
	}
}

// TestMissingFilterClosesTheSession: nothing passes as long as one of the filters is missing, the BGPPeer says so, and
// another BGPPeer is as before.
func TestMissingFilterClosesTheSession(t *testing.T) {
	e := calc.New()
	e.Upsert(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1",
		Annotations: map[string]string{v3.NodeIPv4Address: "172.30.0.11/24"}}})
	e.Upsert(bgpPeer("a-filtered", v3.BGPPeerSpec{PeerIP: "172.30.0.1", ASNumber: 65001,
		Filters: []string{"there", "late"}}))
	e.Upsert(bgpPeer("b-open", v3.BGPPeerSpec{PeerIP: "172.30.0.2", ASNumber: 65001}))
	filter := func(name string) *v3.BGPFilter {
		return &v3.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.BGPFilterSpec{
			ImportV4: []v3.BGPFilterRuleV4{{Action: v3.Accept}}}}
	}
	check := func(step, reason string, imports, exports []wire.BGPRule) {
		t.Helper()
		d := e.Flush()
		sessions := sessionsOf(t, d)
		got := [][]wire.BGPRule{sessions[0].Import, sessions[0].Export, sessions[1].Import, sessions[1].Export}
		if diff := cmp.Diff([][]wire.BGPRule{imports, exports, nil, nil}, got,
			cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%s: rules differ (-want +got):\n%s", step, diff)
		}
		if len(d.Problems) != 1 || d.Problems[0].Name != "a-filtered" ||
			(d.Problems[0].Reason == "") != (reason == "") ||
			!strings.Contains(d.Problems[0].Reason, reason) {
			t.Errorf("%s: problems %+v, want %q of a-filtered", step, d.Problems, reason)
		}
	}
	open, closed := []wire.BGPRule{{}, {}}, []wire.BGPRule{{Reject: true}}
	e.Upsert(filter("there"))
	check("missing", `spec.filters[1]: there is no usable BGPFilter "late"`, closed, closed)
	e.Upsert(filter("late"))
	check("there", "", open, nil)
	e.Delete(calc.KindBGPFilter, "", "there")
	check("deleted", `spec.filters[0]: there is no usable BGPFilter "there"`, closed, closed)
}

// TestUnusableRules: a rule that accepts what nobody can tell accepts nothing, and one that rejects it rejects all. The
// speaker would refuse such a rule together with the rules of all other peers.
func TestUnusableRules(t *testing.T) {
	community := func(text string) *v3.BGPFilterCommunityMatch {
		return &v3.BGPFilterCommunityMatch{Values: []v3.BGPCommunityValue{v3.BGPCommunityValue(text)}}
	}
	add := []v3.BGPFilterOperation{{AddCommunity: &v3.BGPFilterAddCommunity{Value: "1:65536"}}}
	for name, c := range map[string]struct {
		rule   v3.BGPFilterRuleV4
		want   []wire.BGPRule
		reason string
	}{
		"usable": {v3.BGPFilterRuleV4{Action: v3.Accept, Communities: community("01:2")},
			[]wire.BGPRule{{Community: "1:2"}}, ""},
		"accepts a community": {v3.BGPFilterRuleV4{Action: v3.Accept, Communities: community("65536:1")}, nil,
			"communities.values[0]"},
		"rejects a community": {v3.BGPFilterRuleV4{Action: v3.Reject, Communities: community("x")},
			[]wire.BGPRule{{Reject: true}}, "communities.values[0]"},
		"adds a community": {v3.BGPFilterRuleV4{Action: v3.Accept, Operations: add}, nil,
			"operations[0].addCommunity"},
		"accepts the other family": {v3.BGPFilterRuleV4{Action: v3.Accept, CIDR: "fd00::/8"}, nil,
			"cidr: fd00::/8 is of the other IP family"},
		"rejects the other family": {v3.BGPFilterRuleV4{Action: v3.Reject, CIDR: "fd00::/8"},
			[]wire.BGPRule{{Reject: true}}, "cidr: fd00::/8"},
		"rejects what is no network": {v3.BGPFilterRuleV4{Action: v3.Reject, CIDR: "10.0.0.0/33"},
			[]wire.BGPRule{{Reject: true}}, "cidr:"},
	} {
		e := calc.New()
		e.Upsert(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1",
			Annotations: map[string]string{v3.NodeIPv4Address: "172.30.0.11/24"}}})
		e.Upsert(bgpPeer("p", v3.BGPPeerSpec{PeerIP: "172.30.0.1", ASNumber: 65001, Filters: []string{"f"}}))
		e.Upsert(&v3.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: "f"},
			Spec: v3.BGPFilterSpec{ImportV4: []v3.BGPFilterRuleV4{c.rule}}})
		d := e.Flush()
		if diff := cmp.Diff(c.want, sessionsOf(t, d)[0].Import, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%s: rules differ (-want +got):\n%s", name, diff)
		}
		reason := ""
		for _, v := range d.Problems {
			reason += v.Reason
		}
		if (reason == "") != (c.reason == "") || !strings.Contains(reason, c.reason) {
			t.Errorf("%s: reason %q, want %q", name, reason, c.reason)
		}
	}
}

func TestNodesKnowEachOthersBGPPorts(t *testing.T) {
	e := calc.New()
	port := 2179
	e.Upsert(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	e.Flush()
	configuration := &v3.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "node.n1"},
		Spec: v3.BGPConfigurationSpec{ListenPort: &port}}
	e.Upsert(configuration)
	portOf := func(d calc.Delta) uint16 {
		for _, o := range d.Upserts {
			if h, ok := o.(*wire.Host); ok {
				return h.BGPPort
			}
		}
		t.Fatalf("no host in %+v", d)
		return 0
	}
	if got := portOf(e.Flush()); got != 2179 {
		t.Errorf("port %d, want 2179", got)
	}
	e.Delete(calc.KindBGPConfiguration, "", "node.n1")
	if got := portOf(e.Flush()); got != 0 {
		t.Errorf("port %d, want 0 for the default", got)
	}
}
