package daemon

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestSettingsByNodeSelector: a FelixConfiguration with a nodeSelector acts on the node that has the label, not on the
// other, and no longer when the label goes. What policy denies is rejected there, and silently dropped elsewhere.
func TestSettingsByNodeSelector(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	n2 := l.addNode(t, "n2", "lan0", "172.30.0.12", "fd00:30::12")
	a, b := n1.addPod(t, "a"), n2.addPod(t, "b")
	kerneltest.Run(t, "ip route add 10.65.0.0/16 via 172.30.0.11")
	l.create(t, datastore.GlobalNetworkPolicies, &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "closed"},
		Spec: v3.GlobalNetworkPolicySpec{Selector: "all()", Types: []v3.PolicyType{v3.PolicyTypeIngress}}})
	rejects := func(p *pod) bool {
		_, err := dial(t, kerneltest.Current(t), p.addrs[0], "")
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	await := func(onN1, onN2 bool) {
		t.Helper()
		eventually(t, func() error {
			if first, second := rejects(a), rejects(b); first != onN1 || second != onN2 {
				return fmt.Errorf("n1 rejects: %v, want %v; n2 rejects: %v, want %v", first, onN1, second, onN2)
			}
			return nil
		})
	}
	kerneltest.Run(t, "ip route replace "+b.addrs[0].String()+" via 172.30.0.12")
	await(false, false)

	action, nodes := "Reject", "rack == 'a'"
	l.create(t, datastore.FelixConfigurations, &v3.FelixConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "rack-a"},
		Spec: v3.FelixConfigurationSpec{NodeSelector: &nodes, IptablesFilterDenyAction: &action}})
	label := func(m *machine, rack string) {
		t.Helper()
		_, err := datastore.Modify(t.Context(), l.store, datastore.Nodes, datastore.Key{Name: m.name},
			func(n *corev1.Node) error { n.Labels = map[string]string{"rack": rack}; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	label(n1, "b")
	label(n2, "a")
	await(false, true)
	status, err := n2.agent.Status(t.Context())
	want := config.Given{Setting: "IptablesFilterDenyAction", Value: "Reject", From: "FelixConfiguration rack-a"}
	if err != nil || !slices.Contains(status.Settings, want) {
		t.Errorf("settings of n2 are %v, %v, want %v among them", status.Settings, err, want)
	}
	label(n2, "b")
	label(n1, "a")
	await(true, false)
}
