package defaults

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestSet(t *testing.T) {
	const rules = "ingress: [{action: Allow}]"
	tests := []struct {
		object      runtime.Object
		given, want string
	}{
		{&v3.NetworkPolicy{}, `{}`,
			`{metadata: {labels: {projectcalico.org/tier: default}}, spec: {tier: default, types: [Ingress]}}`},
		{&v3.NetworkPolicy{}, `{spec: {egress: [{action: Deny}]}}`,
			`{metadata: {labels: {projectcalico.org/tier: default}}, spec: {tier: default, types: [Egress], egress: [{action: Deny}]}}`},
		{&v3.GlobalNetworkPolicy{},
			`{metadata: {labels: {a: b, projectcalico.org/tier: old}}, spec: {tier: ops, egress: [{action: Deny}], ` +
				rules + `}}`,
			`{metadata: {labels: {a: b, projectcalico.org/tier: ops}}, spec: {tier: ops, types: [Ingress, Egress], egress: [{action: Deny}], ` + rules + `}}`},
		{&v3.GlobalNetworkPolicy{}, `{spec: {types: [Egress], ` + rules + `}}`,
			`{metadata: {labels: {projectcalico.org/tier: default}}, spec: {tier: default, types: [Egress], ` + rules +
				`}}`},
		{&v3.StagedNetworkPolicy{}, `{}`,
			`{metadata: {labels: {projectcalico.org/tier: default}}, spec: {tier: default, stagedAction: Set, types: [Ingress]}}`},
		{&v3.StagedGlobalNetworkPolicy{}, `{spec: {stagedAction: Delete}}`,
			`{metadata: {labels: {projectcalico.org/tier: default}}, spec: {tier: default, stagedAction: Delete}}`},
		{&v3.StagedKubernetesNetworkPolicy{}, `{}`, `{spec: {stagedAction: Set}}`},
		{&v3.Tier{}, `{}`, `{spec: {defaultAction: Deny}}`},
		{&v3.Tier{}, `{spec: {defaultAction: Pass, order: 5}}`, `{spec: {defaultAction: Pass, order: 5}}`},
		{&v3.IPPool{}, `{spec: {cidr: 10.0.0.0/8}}`,
			`{spec: {cidr: 10.0.0.0/8, nodeSelector: all(), assignmentMode: Automatic}}`},
		{&v3.KubeControllersConfiguration{}, `{spec: {controllers: {loadBalancer: {}}}}`,
			`{spec: {healthChecks: Enabled, controllers: {loadBalancer: {assignIPs: AllServices}}}}`},
		{&v3.Profile{}, `{spec: {labelsToApply: {a: b}}}`, `{spec: {labelsToApply: {a: b}}}`},
	}
	for _, tt := range tests {
		read(t, tt.given, tt.object)
		want := tt.object.DeepCopyObject()
		read(t, tt.want, want)
		for range 2 { // the second time there is nothing left to set
			if err := Set(tt.object); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, tt.object); diff != "" {
				t.Errorf("%T %s (-want +got):\n%s", tt.object, tt.given, diff)
			}
		}
	}
}

func read(t *testing.T, text string, object runtime.Object) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
		t.Fatal(err)
	}
}

// TestLabelsAreNotShared: whoever gave the object away may still hold its labels.
func TestLabelsAreNotShared(t *testing.T) {
	labels := map[string]string{"a": "b"}
	p := &v3.NetworkPolicy{}
	p.Labels = labels
	Derive(p)
	if len(labels) != 1 {
		t.Errorf("the labels that were given became %v", labels)
	}
}

func TestRaw(t *testing.T) {
	content := map[string]any{"spec": map[string]any{"strictAffinity": true}}
	Raw("IPAMConfiguration", content)
	Raw("Profile", content)
	want := map[string]any{"strictAffinity": true, "autoAllocateBlocks": true, "maxBlocksPerHost": int64(0)}
	if diff := cmp.Diff(want, content["spec"]); diff != "" {
		t.Error(diff)
	}
}
