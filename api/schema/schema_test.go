package schema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatal(err)
	}
	return content
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ kind, object, want string }{
		{"IPPool", `{spec: {cidr: 10.0.0.0/8}}`, ``},
		{"IPPool", `{spec: {}}`,
			`spec.cidr: Required value: must be a network, for example 10.244.0.0/16 or fd00:10:244::/48`},
		{"IPPool", `{spec: {cidr: ""}}`,
			`spec.cidr: Required value: must be a network, for example 10.244.0.0/16 or fd00:10:244::/48`},
		{"IPPool", `{spec: {cidr: 10.0.0.0/8, blockSize: 200}}`,
			`spec.blockSize: Invalid value: 200: must be 0 to 128`},
		{"NetworkPolicy", `{spec: {ingress: [{}, {action: Drop}]}}`,
			`[spec.ingress[0].action: Required value: must be one of Allow, Deny, Log, Pass, ` +
				`spec.ingress[1].action: Unsupported value: "Drop": supported values: "Allow", "Deny", "Log", "Pass"]`},
		{"NetworkPolicy", `{spec: {ingress: [{action: Deny, ipVersion: 5}]}}`,
			`spec.ingress[0].ipVersion: Unsupported value: 5: supported values: "4", "6"`},
		{"NetworkPolicy", `{spec: {types: []}}`, `spec.types: Invalid value: 0: must have at least 1 elements`},
		{"NetworkPolicy", `{spec: {types: [Ingress, Egress, Ingress]}}`,
			`[spec.types: Too many: 3: must have at most 2 items, spec.types[2]: Duplicate value: "Ingress"]`},
		{"HostEndpoint", `{spec: {interfaceName: a-name-that-is-too-long}}`,
			`spec.interfaceName: Too long: may not be more than 15 bytes`},
	} {
		got := ""
		if errs := Of(tt.kind).Check(nil, decode(t, tt.object)); len(errs) > 0 {
			got = errs.ToAggregate().Error()
		}
		if got != tt.want {
			t.Errorf("%s %s:\n got %s\nwant %s", tt.kind, tt.object, got, tt.want)
		}
	}
}

func TestSetDefaults(t *testing.T) {
	content := decode(t, `{spec: {controllers: {loadBalancer: {}, node: {hostEndpoint: {templates: [{generateName: a}]}}}}}`)
	if s := Of("KubeControllersConfiguration"); !s.SetDefaults(content) || s.SetDefaults(content) {
		t.Error("defaults are not set once")
	}
	want := decode(t, `{spec: {healthChecks: Enabled, controllers: {loadBalancer: {assignIPs: AllServices}, node: {hostEndpoint: {templates: [{generateName: a}]}}}}}`)
	if diff := cmp.Diff(want, content); diff != "" {
		t.Error(diff)
	}
}

func TestFor(t *testing.T) {
	if For(&v3.IPPool{}) == nil || For(&v3.Profile{}) != nil || For(&corev1.Pod{}) != nil {
		t.Error("the schema of a pool, and none for profiles and pods")
	}
}
