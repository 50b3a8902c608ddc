package calc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestCluster: what there is in the cluster is counted as it comes and goes, once each.
func TestCluster(t *testing.T) {
	e := calc.New()
	pod := func(name, node string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name},
			Spec: corev1.PodSpec{NodeName: node}}
		if change != nil {
			change(p)
		}
		return p
	}
	check := func(what string, want wire.Cluster) {
		t.Helper()
		e.Flush()
		if diff := cmp.Diff(want, e.Stats().Cluster); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("nothing", wire.Cluster{})
	e.Upsert(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	e.Upsert(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "default"}})
	e.Upsert(pod("one", "n1", nil))
	e.Upsert(pod("pending", "", nil))
	e.Upsert(pod("host", "n1", func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	e.Upsert(pod("ended", "n1", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }))
	e.Upsert(&v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "eth0"},
		Spec: v3.HostEndpointSpec{Node: "n1", InterfaceName: "eth0"}})
	e.Upsert(&v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "g"},
		Spec: v3.GlobalNetworkPolicySpec{Selector: "all()"}})
	e.Upsert(&v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: "first"}})
	want := wire.Cluster{Policies: 1, Tiers: 2, Profiles: 2, HostEndpoints: 1, WorkloadEndpoints: 1}
	check("one of each", want)
	if s := e.Stats(); s.Unindexed != 1 || s.Matched < 2 {
		t.Errorf("a selector of everything: %+v", s)
	}
	e.Upsert(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"b": "c"}}})
	e.Upsert(pod("one", "n1", func(p *corev1.Pod) { p.Labels = map[string]string{"b": "c"} }))
	check("the same again, with labels", want)
	e.Upsert(pod("pending", "n2", nil))
	want.WorkloadEndpoints++
	check("one more on a node", want)
	for kind, name := range map[string]string{calc.KindPod: "one", calc.KindServiceAccount: "default"} {
		e.Delete(kind, "a", name)
	}
	e.Delete(calc.KindNamespace, "", "a")
	e.Delete(calc.KindNamespace, "", "a")
	e.Delete(calc.KindGlobalNetworkPolicy, "", "g")
	e.Delete(calc.KindHostEndpoint, "", "eth0")
	e.Delete(calc.KindTier, "", "first")
	check("one pod is left", wire.Cluster{WorkloadEndpoints: 1})
	if s := e.Stats(); s.Indexed+s.Unindexed != 0 {
		t.Errorf("no selector is left: %+v", s)
	}
}
