package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
)

// matrix says who reaches whom, as "from>to".
func matrix(t *testing.T, pods []*pod, family func(netip.Addr) bool) []string {
	t.Helper()
	var open []string
	for _, from := range pods {
		for _, to := range pods {
			if from == to {
				continue
			}
			addr := to.addrs[slices.IndexFunc(to.addrs, family)]
			if _, err := dial(t, from.ns, addr, ""); err == nil {
				open = append(open, from.name+">"+to.name)
			}
		}
	}
	return open
}

// misconnected returns an error that names the connections that differ from what is allowed, in both families.
func misconnected(t *testing.T, pods []*pod, allowed func(from, to string) bool) error {
	t.Helper()
	var want []string
	for _, from := range pods {
		for _, to := range pods {
			if from != to && allowed(from.name, to.name) {
				want = append(want, from.name+">"+to.name)
			}
		}
	}
	var wrong []error
	for name, family := range map[string]func(netip.Addr) bool{"IPv4": netip.Addr.Is4, "IPv6": netip.Addr.Is6} {
		if got := matrix(t, pods, family); !slices.Equal(want, got) {
			wrong = append(wrong, fmt.Errorf("%s connections: %v, want %v", name, got, want))
		}
	}
	return errors.Join(wrong...)
}

// checkMatrix is for what has to hold at this moment: after a change on one node that leaves the connections as they
// were.
func checkMatrix(t *testing.T, pods []*pod, allowed func(from, to string) bool) {
	t.Helper()
	if err := misconnected(t, pods, allowed); err != nil {
		t.Error(err)
	}
}

// awaitMatrix is for what comes with the stream: each node, and each family of it, programs the change at a time of its
// own.
func awaitMatrix(t *testing.T, pods []*pod, allowed func(from, to string) bool) {
	t.Helper()
	eventually(t, func() error { return misconnected(t, pods, allowed) })
}

func anyPair(string, string) bool { return true }

// TestTwoSubnets is the whole agent on three nodes: direct routes within a subnet, VXLAN between subnets, policy,
// a restart that changes nothing, and repair of what a stranger removed.
func TestTwoSubnets(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	n2 := l.addNode(t, "n2", "lan0", "172.30.0.12", "fd00:30::12")
	n3 := l.addNode(t, "n3", "lan1", "172.31.0.13", "fd00:31::13")
	a, b, c, d := n1.addPod(t, "a"), n1.addPod(t, "b"), n2.addPod(t, "c"), n3.addPod(t, "d")
	pods := []*pod{a, b, c, d}
	awaitMatrix(t, pods, anyPair)

	t.Run("Routes", func(t *testing.T) {
		n1.do(t, func() {
			if got := kerneltest.Run(t, "ip route get "+c.addrs[0].String()); !strings.Contains(got,
				"via 172.30.0.12 dev eth0") {
				t.Errorf("route within the subnet: %s", got)
			}
			if got := kerneltest.Run(t, "ip route get "+d.addrs[0].String()); !strings.Contains(got,
				"dev vxlan.calico") {
				t.Errorf("route to the other subnet: %s", got)
			}
			if got := kerneltest.Run(t, "ip -6 route get "+d.addrs[1].String()); !strings.Contains(got,
				"dev vxlan-v6.calico") {
				t.Errorf("IPv6 route to the other subnet: %s", got)
			}
		})
		if got := n1.agent.CNIState().MTU; got != 1430 {
			t.Errorf("MTU of pods is %d, want 1500 less the IPv6 overhead", got)
		}
	})
	t.Run("NodeToPod", func(t *testing.T) {
		for _, p := range pods {
			if _, err := dial(t, n1.ns, p.addrs[0], ""); err != nil {
				t.Errorf("from node n1 to pod %s: %v", p.name, err)
			}
		}
	})
	t.Run("Masquerade", func(t *testing.T) {
		kerneltest.Do(t, n3.ns, func() { serve(t) })
		seen, err := dial(t, a.ns, netip.MustParseAddr("172.31.0.13"), "")
		if err != nil || seen != netip.MustParseAddr("172.30.0.11") {
			t.Errorf("a node in the other subnet sees %v, %v, want the pod's node", seen, err)
		}
	})
	t.Run("Spoofing", func(t *testing.T) {
		kerneltest.Do(t, a.ns, func() { kerneltest.Run(t, "ip addr add 10.65.99.99/32 dev lo") })
		if _, err := dial(t, a.ns, b.addrs[0], "10.65.99.99"); err == nil {
			t.Error("a pod connects from an address that is not its own")
		}
	})
	t.Run("Policy", func(t *testing.T) { testPolicy(t, l, pods) })
	t.Run("Restart", func(sub *testing.T) { testRestart(sub, t, n1, pods) })
	t.Run("Repair", func(t *testing.T) { testRepair(t, n1, pods) })
	t.Run("Cleanup", func(t *testing.T) { testCleanup(t, n1) })
}

// testCleanup leaves a stranger's rule and set alone.
func testCleanup(t *testing.T, m *machine) {
	m.stop()
	m.do(t, func() {
		kerneltest.Run(t, "iptables-nft -A FORWARD -i foreign0 -j DROP")
		kerneltest.Run(t, "ipset create foreign hash:net")
		c, err := config.Resolve()
		if err != nil {
			t.Error(err)
			return
		}
		for range 2 { // the second time there is nothing left to do
			if err := linux.Clean(t.Context(), *c); err != nil {
				t.Error(err)
			}
		}
		for command, ours := range map[string]string{"iptables-nft-save": "cali", "ip6tables-nft-save": "cali",
			"ipset save": "cali",
			"ip route":   "proto 80", "ip -6 route": "proto 80", "ip -o link": "vxlan"} {
			if left := kerneltest.Run(t, command); strings.Contains(left, ours) {
				t.Errorf("%s after the cleanup:\n%s", command, left)
			}
		}
		if !strings.Contains(kerneltest.Run(t, "iptables-nft-save"), "foreign0") ||
			!strings.Contains(kerneltest.Run(t, "ipset save"), "foreign") {
			t.Error("the cleanup took a stranger's rule or set")
		}
	})
}

// policed is who reaches whom with the policy of testPolicy: b and d admit a alone.
func policed(from, to string) bool { return from == "a" || to != "b" && to != "d" }

func testPolicy(t *testing.T, l *lab, pods []*pod) {
	l.create(t, datastore.NetworkPolicies, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop",
		Name: "a-only"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"b", "d"}}}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}}}}},
		}})
	awaitMatrix(t, pods, policed)
	if _, err := dial(t, pods[1].on.ns, pods[1].addrs[0], ""); err != nil {
		t.Errorf("from a node to its own isolated pod: %v", err)
	}
}

// snapshot shows the node's state with the kernel's handles, which a rewritten rule would lose.
func snapshot(t *testing.T, m *machine) string {
	t.Helper()
	var all strings.Builder
	m.do(t, func() {
		for _, command := range []string{"nft -a -s list ruleset", "ip route", "ip -6 route", "ip -d -o link",
			"bridge fdb", "ip -4 neigh show nud permanent",
			"ipset save"} {
			all.WriteString(kerneltest.Run(t, command))
		}
	})
	return all.String()
}

// testRestart ends the agent and starts another, which is to live as long as the whole test.
func testRestart(t, whole *testing.T, m *machine, pods []*pod) {
	before := snapshot(t, m)
	m.stop()
	checkMatrix(t, pods, policed)
	m.start(whole)
	if after := snapshot(t, m); after != before {
		t.Errorf("the restart changed the kernel.\nBefore:\n%s\nAfter:\n%s", before, after)
	}
	checkMatrix(t, pods, policed)
}

// handles are numbers that the kernel gives anew to what is made anew.
var handles = regexp.MustCompile(`(?m) # handle [0-9]+|^[0-9]+: |if[0-9]+|\bnew-id\b`)

// sorted is a snapshot without handles and order.
func sorted(s string) string {
	return strings.Join(slices.Sorted(strings.Lines(handles.ReplaceAllString(s, ""))), "")
}

func testRepair(t *testing.T, m *machine, pods []*pod) {
	for _, damage := range []string{"iptables-nft -F cali-FORWARD", "ip6tables-nft -F cali-to-wl-dispatch",
		"iptables-nft -D FORWARD 1",
		"ip route flush proto 80", "ip link del vxlan.calico", "ipset flush"} {
		before := sorted(snapshot(t, m))
		m.do(t, func() { kerneltest.Run(t, damage) })
		eventually(t, func() error {
			if after := sorted(snapshot(t, m)); after != before {
				return fmt.Errorf("after %q:\n%s\nwant:\n%s", damage, after, before)
			}
			return nil
		})
	}
	checkMatrix(t, pods, policed)
}
