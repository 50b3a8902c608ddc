package calc_test

import (
	"fmt"
	"runtime"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/maneki-net/maneki/api/effects"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc"
)

// TestMemoryFollowsWhatLives replaces everything that an engine knows by other things of the same number and size,
// again and again: what it keeps must not grow, whatever it once knew.
func TestMemoryFollowsWhatLives(t *testing.T) {
	effects.Rows(effects.Field) // the table is read once, and stays
	program := heap()
	e := calc.New()
	populate(e, 0)
	replace := func(n int) {
		populate(e, n)
		e.Flush()
		depopulate(e, n-1)
		e.Flush()
	}
	const settled = 40 // generations after which maps have the size that they keep
	for n := range settled {
		replace(n + 1)
	}
	before, objects := heap(), e.Residue()
	last := settled * long.Or(10, 2)
	for n := settled + 1; n <= last; n++ {
		replace(n)
	}
	after := heap()
	// Go's maps keep tables that once split, now and then one more, and never shrink. Over so many generations 28 bytes
	// that are left of each pod come to more than this.
	if growth := float64(after) / float64(before); growth > 1.3 {
		t.Errorf("the heap grew from %d KiB to %d KiB over %d generations", before>>10, after>>10, last-settled)
	}
	if diff := gocmp.Diff(objects, e.Residue()); diff != "" {
		t.Errorf("the engine remembers (-before +after):\n%s", diff)
	}
	depopulate(e, last)
	e.Flush()
	if residue := e.Residue(); len(residue) > 0 {
		t.Errorf("left in the engine: %v", residue)
	}
	if rest := heap(); rest-program > (before-program)/2 {
		t.Errorf("with nothing left the heap has %d KiB of %d KiB, and %d KiB before", rest>>10, before>>10,
			program>>10)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const perGeneration = 500

// populate adds pods, the policies and sets that concern them, and the blocks of their addresses. Names, labels and
// selectors are of the generation alone; addresses are not.
func populate(e *calc.Engine, generation int) {
	of := func(kind string, n int) string { return fmt.Sprintf("%s-%d-%d", kind, generation, n) }
	for n := range perGeneration / 20 {
		ns := of("ns", n)
		e.Upsert(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns,
			Labels: map[string]string{"team": of("team", n)}}})
		e.Upsert(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default",
			Labels: map[string]string{"of": of("account", n)}}})
		for _, p := range churnPolicies(ns, of("app", n), of("team", n)) {
			e.Upsert(p)
		}
	}
	for n := range perGeneration {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: of("ns", n/20), Name: of("pod", n),
			UID:    types.UID(of("uid", n)),
			Labels: map[string]string{"app": of("app", n/20), "pod": of("value", n)}}}
		p.Spec.NodeName, p.Spec.ServiceAccountName = of("node", n%10), "default"
		p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.%d.%d.1", n/250, n%250)}}
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: of("port", n%7),
			ContainerPort: 80}}}}
		e.Upsert(p)
	}
}

func depopulate(e *calc.Engine, generation int) {
	of := func(kind string, n int) string { return fmt.Sprintf("%s-%d-%d", kind, generation, n) }
	for n := range perGeneration / 20 {
		ns := of("ns", n)
		e.Delete(calc.KindNamespace, "", ns)
		e.Delete(calc.KindServiceAccount, ns, "default")
		for _, p := range churnPolicies(ns, "", "") {
			e.Delete(kindOf(p), p.GetNamespace(), p.GetName())
		}
	}
	for n := range perGeneration {
		e.Delete(calc.KindPod, of("ns", n/20), of("pod", n))
	}
}

func churnPolicies(ns, app, team string) []metav1.Object {
	knp := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "kubernetes"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: []networkingv1.NetworkPolicyPeer{
					{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}}},
				Ports: []networkingv1.NetworkPolicyPort{{Port: pointer(intstr.FromString("port-" + app))}}}}}}
	np := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "calico"}, Spec: v3.NetworkPolicySpec{
		Selector: fmt.Sprintf("app == '%s'", app),
		Ingress: []v3.Rule{{Action: v3.Allow, Source: v3.EntityRule{NamespaceSelector: fmt.Sprintf("team == '%s'",
			team)}},
			{Action: v3.Deny, Source: v3.EntityRule{ServiceAccounts: &v3.ServiceAccountMatch{Selector: "has(of)"}}}}}}
	gnp := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "global-" + ns},
		Spec: v3.GlobalNetworkPolicySpec{
			Tier: "tier-" + ns, NamespaceSelector: fmt.Sprintf("team == '%s'", team),
			Egress: []v3.Rule{{Action: v3.Allow, Destination: v3.EntityRule{Selector: fmt.Sprintf("set == '%s'",
				team)}}}}}
	return []metav1.Object{knp, np, gnp,
		&v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: "tier-" + ns}},
		&v3.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "set",
			Labels: map[string]string{"set": team}}, Spec: v3.NetworkSetSpec{Nets: []string{"192.0.2.0/24"}}},
		&v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "host-" + ns, Labels: map[string]string{"team": team}},
			Spec: v3.HostEndpointSpec{Node: "node-" + ns, InterfaceName: "*"}},
	}
}
