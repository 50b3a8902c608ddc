package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestPolicyOfResources takes Calico's resources from the datastore to the kernel: a tier whose policy denies between
// pods that the others allow, and a host endpoint with a policy for the node and one for what it forwards.
func TestPolicyOfResources(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	a, b := n1.addPod(t, "a"), n1.addPod(t, "b")
	pods := []*pod{a, b}
	n1.do(t, func() { serve(t) })
	outside := kerneltest.Current(t)
	nodeAddrs := []netip.Addr{netip.MustParseAddr("172.30.0.11"), netip.MustParseAddr("fd00:30::11")}
	for _, line := range []string{"ip route add 10.65.0.0/16 via 172.30.0.11",
		"ip route add fd00:65::/64 via fd00:30::11"} {
		kerneltest.Run(t, line)
	}
	// reach dials every address from outside.
	reach := func(addrs []netip.Addr, open bool) error {
		for _, addr := range addrs {
			if _, err := dial(t, outside, addr, ""); (err == nil) != open {
				return fmt.Errorf("from outside to %s: %v, want it open: %v", addr, err, open)
			}
		}
		return nil
	}
	eventually(t, func() error { return reach(nodeAddrs, true) })
	awaitMatrix(t, pods, anyPair)

	order := 100.0
	l.create(t, datastore.Tiers, &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: "security"},
		Spec: v3.TierSpec{Order: &order}})
	deny := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "security.not-from-b"},
		Spec: v3.GlobalNetworkPolicySpec{Tier: "security",
			Selector: "app == 'a'", Types: []v3.PolicyType{v3.PolicyTypeIngress},
			Ingress: []v3.Rule{{Action: v3.Deny, Source: v3.EntityRule{Selector: "app == 'b'"}}, {Action: v3.Pass}}}}
	l.create(t, datastore.GlobalNetworkPolicies, deny)
	awaitMatrix(t, pods, func(from, to string) bool { return from+to != "ba" })
	if err := reach(a.addrs, true); err != nil {
		t.Error(err)
	}

	l.create(t, datastore.HostEndpoints, &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "n1-eth0",
		Labels: map[string]string{"role": "worker"}},
		Spec: v3.HostEndpointSpec{Node: "n1", ExpectedIPs: []string{"172.30.0.11"}}})
	eventually(t, func() error { return reach(nodeAddrs, false) })
	if err := reach(a.addrs, true); err != nil {
		t.Error(err)
	}
	tcp := intstr.FromString("TCP")
	port := v3.EntityRule{Ports: []intstr.IntOrString{intstr.FromInt32(8080)}}
	l.create(t, datastore.GlobalNetworkPolicies, &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "workers"},
		Spec: v3.GlobalNetworkPolicySpec{Selector: "role == 'worker'", Types: []v3.PolicyType{v3.PolicyTypeIngress},
			Ingress: []v3.Rule{{Action: v3.Allow, Protocol: &tcp, Destination: port}}}})
	eventually(t, func() error { return reach(nodeAddrs, true) })
	l.create(t, datastore.GlobalNetworkPolicies, &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "through"},
		Spec: v3.GlobalNetworkPolicySpec{Selector: "role == 'worker'", ApplyOnForward: true,
			Types: []v3.PolicyType{v3.PolicyTypeIngress},
			Ingress: []v3.Rule{{Action: v3.Deny, Destination: v3.EntityRule{Selector: "app == 'a'"}},
				{Action: v3.Allow}}}})
	eventually(t, func() error { return reach(a.addrs, false) })
	for _, addrs := range [][]netip.Addr{b.addrs, nodeAddrs} {
		if err := reach(addrs, true); err != nil {
			t.Error(err)
		}
	}

	for kind, name := range map[datastore.Kind]string{datastore.GlobalNetworkPolicies: "through",
		datastore.HostEndpoints: "n1-eth0"} {
		if err := l.store.Delete(t.Context(), kind, datastore.Key{Name: name}, datastore.Preconditions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error { return reach(a.addrs, true) })
	eventually(t, func() error {
		var left string
		n1.do(t, func() { left = kerneltest.Run(t, "iptables-nft-save") + kerneltest.Run(t, "ip6tables-nft-save") })
		if strings.Contains(left, "cali-fh-") || strings.Contains(left, "cali-failsafe") {
			return fmt.Errorf("a host endpoint that is gone has chains")
		}
		return nil
	})
}
