package repair

import (
	"reflect"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/json"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// TestKubernetes: what the engine makes of these, typha/calc tests.
func TestKubernetes(t *testing.T) {
	const meta = `{"metadata":{"name":"a"},"spec":`
	for name, tt := range map[string]struct {
		object             any
		spec               string
		kept, left, reason []string
	}{
		"a rule": {&networkingv1.NetworkPolicy{},
			`{"podSelector":{},"ingress":[{"from":[{}]},{"ports":[{"port":[]}]}]}`,
			[]string{`{"from":[{}]}`}, nil, []string{"(unreadable: "}},
		"a requirement of the selector": {&networkingv1.NetworkPolicy{},
			`{"podSelector":{"matchLabels":{"a":"b","c":7}}}`,
			[]string{`"matchLabels":{"a":"b"}`}, nil, []string{"(unreadable: "}},
		"the directions": {&networkingv1.NetworkPolicy{}, `{"podSelector":{},"policyTypes":[7]}`,
			[]string{`"policyTypes":["Ingress","Egress"]`}, nil, []string{"policyTypes cannot be read"}},
		"all": {&networkingv1.NetworkPolicy{}, `7`, []string{`"policyTypes":["Ingress","Egress"]`}, nil,
			[]string{"(unreadable: "}},

		"the priority": {&policyv1alpha2.ClusterNetworkPolicy{},
			`{"tier":"Admin","priority":"10","subject":{"namespaces":{}},"egress":[
			{"action":"Deny","to":[{"networks":["169.254.169.254/32"]}]},{"action":"Accept","to":[{"networks":["10.0.0.0/8"]}]}]}`,
			[]string{`{"action":"Deny","to":[{"networks":["169.254.169.254/32"]}]}`, `"priority":0`,
				`{"action":"Accept"`},
			[]string{`10.0.0.0/8`}, []string{"priority cannot be read"}},
		"a field of a rule that nobody knows": {&policyv1alpha2.ClusterNetworkPolicy{},
			`{"tier":"Admin","priority":1,"subject":{"namespaces":{}},"ingress":[
			{"action":"Accept","from":[{"namespaces":{}}],"only":"on Mondays"},{"action":"Deny","from":[{"namespaces":{}}]}]}`,
			[]string{`{"action":"Deny","from":[{"namespaces":{}}]}`}, []string{"Mondays"}, []string{"only"}},
		"a field of the policy that nobody knows": {&policyv1alpha2.ClusterNetworkPolicy{},
			`{"tier":"Admin","priority":1,"subject":{"namespaces":{}},"rules":[{"action":"Deny"}]}`,
			[]string{`{"action":"Deny","from":`, `{"action":"Deny","to":`}, nil, []string{"rules cannot be read"}},
		"the subject": {&policyv1alpha2.ClusterNetworkPolicy{},
			`{"tier":"Admin","priority":1,"subject":{"pods":{"namespaceSelector":{"matchLabels":{"a":"b"}},"podSelector":7}}}`,
			[]string{`{"matchLabels":{"a":"b"},`, `"podSelector"`}, nil, []string{"(unreadable: "}},
		"everything, and more": {&policyv1alpha2.ClusterNetworkPolicy{},
			`{"about":1,"tier":1,"priority":"1","subject":1,"ingress":1,"egress":{}}`,
			[]string{`{"action":"","from":`, `{"action":"","to":`}, nil, []string{"(unreadable: "}},
		"all of it": {&policyv1alpha2.ClusterNetworkPolicy{}, `[]`,
			[]string{`"tier":"Admin"`, `{"action":"Deny","from":`, `{"action":"Deny","to":`}, nil,
			[]string{"(unreadable: "}},
	} {
		repaired, ok := JSON(kinds[reflect.TypeOf(tt.object)], []byte(meta+tt.spec+`}`))
		if err := json.Unmarshal(repaired, tt.object); !ok || err != nil {
			t.Errorf("%s: %s: %v", name, repaired, err)
			continue
		}
		for _, text := range append(tt.kept, tt.reason...) {
			if !strings.Contains(string(repaired), text) {
				t.Errorf("%s: %s lacks %s", name, repaired, text)
			}
		}
		for _, text := range tt.left {
			if strings.Contains(string(repaired), text) {
				t.Errorf("%s: %s has %s", name, repaired, text)
			}
		}
	}
}

// TestUnchanged: a policy that can be read goes through repair as it is.
func TestUnchanged(t *testing.T) {
	given := `{"metadata":{"name":"a"},"spec":{"tier":"Admin","priority":3,"subject":{"namespaces":{}},"egress":[{"name":"x","action":"Pass","to":[{"nodes":{}}],"protocols":[{"tcp":{"destinationPort":{"number":80}}}]}]}}`
	var before, after policyv1alpha2.ClusterNetworkPolicy
	repaired, _ := JSON(kinds[reflect.TypeOf(&after)], []byte(given))
	if json.Unmarshal([]byte(given), &before) != nil || json.Unmarshal(repaired, &after) != nil ||
		!reflect.DeepEqual(before.Spec, after.Spec) {
		t.Errorf("%s became %s", given, repaired)
	}
}
