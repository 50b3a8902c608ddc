package daemon

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// withoutEffect: who writes what has no effect is warned, also of policies that would be plain otherwise. Others are
// not.
func (w *world) withoutEffect(t *testing.T) {
	a := w.author(t)
	named, ofNode := metav1.ObjectMeta{Name: "without-effect"}, metav1.ObjectMeta{Name: "node.without-effect"}
	inNamespace := metav1.ObjectMeta{Namespace: "default", Name: "without-effect"}
	staged := "spec: has no effect yet: it is checked and compiled, but nothing reports yet what it would do"
	annotated := v3.Rule{Action: v3.Allow, Metadata: &v3.RuleMetadata{Annotations: map[string]string{"a": "b"}}}
	for name, c := range map[string]struct {
		object client.Object
		want   []string
	}{
		"encryption": {&v3.FelixConfiguration{ObjectMeta: ofNode,
			Spec: v3.FelixConfigurationSpec{WireguardEnabled: new(true)}},
			[]string{"spec.wireguardEnabled: has no effect yet: traffic between nodes is not encrypted"}},
		"no encryption": {&v3.FelixConfiguration{ObjectMeta: ofNode,
			Spec: v3.FelixConfigurationSpec{WireguardEnabled: new(false)}}, nil},
		"annotations of a rule": {&v3.NetworkPolicy{ObjectMeta: inNamespace,
			Spec: v3.NetworkPolicySpec{Ingress: []v3.Rule{annotated}}},
			[]string{"spec.ingress[].metadata: has no effect: no rule of the kernel carries it"}},
		"a policy": {&v3.NetworkPolicy{ObjectMeta: inNamespace, Spec: v3.NetworkPolicySpec{Selector: "all()"}},
			nil},
		"a staged policy": {&v3.StagedNetworkPolicy{ObjectMeta: inNamespace,
			Spec: v3.StagedNetworkPolicySpec{Selector: "all()"}}, []string{staged}},
		"a staged policy of the cluster": {&v3.StagedGlobalNetworkPolicy{ObjectMeta: named,
			Spec: v3.StagedGlobalNetworkPolicySpec{Selector: "all()"}}, []string{staged}},
	} {
		a.warnings = nil
		if err := a.Create(t.Context(), c.object, client.DryRunAll); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(a.warnings, c.want) {
			t.Errorf("%s: the author is warned of %q, want %q", name, a.warnings, c.want)
		}
	}
}
