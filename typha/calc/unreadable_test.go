package calc_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/maneki-net/maneki/api/repair"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestUnreadablePolicyIsClosed: what a datastore makes of a policy that does not fit its type still denies what that
// may have denied, at the pods that it may have selected, allows nothing, and is told.
func TestUnreadablePolicyIsClosed(t *testing.T) {
	kubernetes := networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy")
	cluster := schema.GroupVersionKind{Group: policyv1alpha2.GroupVersion.Group,
		Version: policyv1alpha2.GroupVersion.Version, Kind: "ClusterNetworkPolicy"}
	calico, global := v3.GroupVersion.WithKind("NetworkPolicy"), v3.GroupVersion.WithKind("GlobalNetworkPolicy")
	metadata := wire.Rule{Action: wire.Deny,
		Dst: wire.Match{Nets: []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32")}}}
	for name, tt := range map[string]struct {
		kind schema.GroupVersionKind
		spec string
		// a and b are what becomes of the egress of the pods of that label.
		a, b []wire.Rule
	}{
		"NetworkPolicy, all": {kind: kubernetes, spec: `7`, a: []wire.Rule{}, b: []wire.Rule{}},
		"NetworkPolicy, a requirement": {kind: kubernetes, a: []wire.Rule{},
			spec: `{"policyTypes": ["Egress"], "podSelector": {"matchLabels": {"app": "a", "tier": 7}}, "egress": [{}]}`},
		"NetworkPolicy, a rule": {kind: kubernetes, a: []wire.Rule{},
			spec: `{"podSelector": {"matchLabels": {"app": "a"}}, "egress": [{"ports": 7}]}`},
		"ClusterNetworkPolicy, all": {kind: cluster, spec: `7`, a: denyAll, b: denyAll},
		"ClusterNetworkPolicy, the priority": {kind: cluster, a: []wire.Rule{metadata}, b: []wire.Rule{metadata},
			spec: `{"tier": "Admin", "priority": "10", "subject": {"namespaces": {}}, "egress": [
				{"action": "Accept", "to": [{"networks": ["0.0.0.0/0"]}]}, {"action": "Deny", "to": [{"networks": ["169.254.169.254/32"]}]}]}`},
		"ClusterNetworkPolicy, the subject": {kind: cluster, a: denyAll,
			spec: `{"tier": "Admin", "priority": 10, "subject": {"pods": {"namespaceSelector": 7, "podSelector": {"matchLabels": {"app": "a"}}}},
				"egress": [{"action": "Accept", "to": [{"networks": ["0.0.0.0/0"]}]}]}`},
		"ClusterNetworkPolicy, a rule": {kind: cluster, a: denyAll, b: denyAll,
			spec: `{"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, "egress": [
				{"action": "Deny", "to": [{"networks": ["169.254.169.254/32"]}], "only": "on Mondays"}]}`},
		"ClusterNetworkPolicy, an unknown field": {kind: cluster, a: denyAll, b: denyAll,
			spec: `{"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, "rules": []}`},
		"Calico's NetworkPolicy, all": {kind: calico, spec: `[]`, a: denyAll, b: denyAll},
		"GlobalNetworkPolicy, the order": {kind: global, a: []wire.Rule{metadata},
			spec: `{"order": "10", "selector": "app == 'a'", "types": ["Egress"],
				"egress": [{"action": "Allow"}, {"action": "Deny", "destination": {"nets": ["169.254.169.254/32"]}}]}`},
		"GlobalNetworkPolicy, a rule": {kind: global, a: denyAll,
			spec: `{"selector": "app == 'a'", "egress": [{"action": "Deny", "protocol": {}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			object := reflect.New(policyTypes[tt.kind].Elem()).Interface().(metav1.Object)
			text := `{"metadata": {"name": "p", "namespace": "ns"}, "spec": ` + tt.spec + `}`
			if json.Unmarshal([]byte(text), object) == nil && !repair.Strict(tt.kind.GroupKind()) {
				t.Fatalf("%s can be read", text)
			}
			object = reflect.New(policyTypes[tt.kind].Elem()).Interface().(metav1.Object)
			repaired, ok := repair.JSON(tt.kind, []byte(text))
			if err := json.Unmarshal(repaired, object); !ok || err != nil {
				t.Fatalf("repaired to %s: %v", repaired, err)
			}
			w, problems := compute(t, object, namespaceOf("ns"), labelledPod("a"), labelledPod("b"))
			if len(problems) != 1 || problems[0].Name != "p" || !strings.Contains(problems[0].Reason, "read") {
				t.Errorf("problems: %v", problems)
			}
			for pod, want := range map[string][]wire.Rule{"a": tt.a, "b": tt.b} {
				if got := egressOf(t, w, "ns/"+pod); !reflect.DeepEqual(got, want) {
					t.Errorf("egress of pod %s is %+v, want %+v", pod, got, want)
				}
			}
		})
	}
}

var denyAll = []wire.Rule{{Action: wire.Deny}}

var policyTypes = map[schema.GroupVersionKind]reflect.Type{
	networkingv1.SchemeGroupVersion.WithKind(
		"NetworkPolicy"): reflect.TypeFor[*networkingv1.NetworkPolicy](),
	{Group: policyv1alpha2.GroupVersion.Group, Version: policyv1alpha2.GroupVersion.Version,
		Kind: "ClusterNetworkPolicy"}: reflect.TypeFor[*policyv1alpha2.ClusterNetworkPolicy](),
	v3.GroupVersion.WithKind("NetworkPolicy"):       reflect.TypeFor[*v3.NetworkPolicy](),
	v3.GroupVersion.WithKind("GlobalNetworkPolicy"): reflect.TypeFor[*v3.GlobalNetworkPolicy](),
}

func namespaceOf(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"}}
}

func labelledPod(name string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "u",
		Labels: map[string]string{"app": name}}}
	p.Spec.NodeName, p.Status.Phase = "n1", corev1.PodRunning
	return p
}

// egressOf gives the rules of the policy of an endpoint; nil if none selects it.
func egressOf(t *testing.T, w *world, endpoint string) []wire.Rule {
	t.Helper()
	e, ok := w.objects[wire.ID{Kind: wire.KindEndpoint, Name: endpoint}].(*wire.Endpoint)
	if !ok {
		t.Fatalf("no endpoint %s", endpoint)
	}
	for _, tier := range e.Tiers {
		for _, name := range tier.Egress {
			return append([]wire.Rule{}, w.objects[wire.ID{Kind: wire.KindPolicy, Name: name}].(*wire.Policy).Egress...)
		}
	}
	return nil
}
