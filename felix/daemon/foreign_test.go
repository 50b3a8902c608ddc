package daemon

import (
	"context"
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestForeignRule: a rule of somebody else that names a chain of a pod keeps that chain, empty, when the pod goes.
// Pods come and go, and sets shrink, as before; the node says what it could not remove.
func TestForeignRule(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	a, b, c := n1.addPod(t, "a"), n1.addPod(t, "b"), n1.addPod(t, "c")
	l.create(t, datastore.NetworkPolicies, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop",
		Name: "b-from-a-and-c"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "b"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{
				{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn,
						Values: []string{"a", "c"}}}}}}}},
		}})
	members := func() (list string) {
		n1.do(t, func() { list = kerneltest.Run(t, "ipset save") })
		return list
	}
	hasC := func(want bool) func() error {
		return func() error {
			if got := strings.Contains(members(), " "+c.addrs[0].String()); got != want {
				return fmt.Errorf("address of pod c in a set: %v, want %v", got, want)
			}
			return nil
		}
	}
	eventually(t, hasC(true))
	iface := derive.HostInterface("shop", "c")
	chain := "cali-tw-" + iface
	n1.do(t, func() {
		kerneltest.Run(t, "iptables-nft -N DEBUG")
		kerneltest.Run(t, "iptables-nft -A DEBUG -j "+chain)
	})
	n1.agent.Remove(cniserver.Workload{Namespace: "shop", Pod: "c", ContainerID: "c", HostIface: iface})
	n1.do(t, func() { kerneltest.Run(t, "ip link del "+iface) })
	if err := l.store.Delete(t.Context(), datastore.Pods, datastore.Key{Namespace: "shop", Name: "c"},
		datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ipam.Release(t.Context(), "n1", "c"); err != nil {
		t.Fatal(err)
	}
	eventually(t, hasC(false))
	d := n1.addPod(t, "d")
	awaitMatrix(t, []*pod{a, b, d}, func(from, to string) bool { return from+to != "db" })
	status := func() (string, error) {
		s, err := n1.agent.Status(context.Background())
		return s.Error, err
	}
	if text, err := status(); err != nil || !strings.Contains(text, chain) {
		t.Errorf("the node says %q, %v, want something of %s", text, err, chain)
	}
	n1.do(t, func() { kerneltest.Run(t, "iptables-nft -F DEBUG") })
	eventually(t, func() error {
		text, err := status()
		if err == nil && text != "" {
			err = fmt.Errorf("once nobody names the chain the node says %q", text)
		}
		return err
	})
}
