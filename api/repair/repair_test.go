package repair

import (
	"reflect"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
)

var kinds = map[reflect.Type]schema.GroupVersionKind{
	reflect.TypeFor[*v3.NetworkPolicy]():                 v3.GroupVersion.WithKind("NetworkPolicy"),
	reflect.TypeFor[*v3.GlobalNetworkPolicy]():           v3.GroupVersion.WithKind("GlobalNetworkPolicy"),
	reflect.TypeFor[*v3.StagedNetworkPolicy]():           v3.GroupVersion.WithKind("StagedNetworkPolicy"),
	reflect.TypeFor[*v3.StagedGlobalNetworkPolicy]():     v3.GroupVersion.WithKind("StagedGlobalNetworkPolicy"),
	reflect.TypeFor[*v3.StagedKubernetesNetworkPolicy](): v3.GroupVersion.WithKind("StagedKubernetesNetworkPolicy"),
	reflect.TypeFor[*v3.Profile]():                       v3.GroupVersion.WithKind("Profile"),
	reflect.TypeFor[*v3.HostEndpoint]():                  v3.GroupVersion.WithKind("HostEndpoint"),
	reflect.TypeFor[*v3.NetworkSet]():                    v3.GroupVersion.WithKind("NetworkSet"),
	reflect.TypeFor[*v3.GlobalNetworkSet]():              v3.GroupVersion.WithKind("GlobalNetworkSet"),
	reflect.TypeFor[*v3.Tier]():                          v3.GroupVersion.WithKind("Tier"),
	reflect.TypeFor[*networkingv1.NetworkPolicy]():       networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
	reflect.TypeFor[*policyv1alpha2.ClusterNetworkPolicy](): {Group: policyv1alpha2.GroupVersion.Group,
		Version: "v1alpha2", Kind: "ClusterNetworkPolicy"},
}

// TestJSON: what was readable stays, and each thing that was not is found by who judges the object.
func TestJSON(t *testing.T) {
	const port = `{"action":"Deny","protocol":"TCP","destination":{"ports":[{}]}}`
	for _, tt := range []struct {
		object     runtime.Object
		given      string
		kept, said []string
	}{
		{&v3.NetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"selector":"all()","ingress":[{"action":"Allow","protocol":"UDP"},` + port + `]}}`,
			[]string{`"protocol":"UDP"`, `"selector":"all()"`, `"action":"Deny"`},
			[]string{"spec.ingress[1].protocol"}},
		{&v3.NetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"selector":7,"order":"first","tier":"ops"}}`,
			[]string{`"tier":"ops"`, `"order":-1.79`}, []string{"spec.selector", "spec.ingress[0].protocol"}},
		{&v3.GlobalNetworkPolicy{}, `{"metadata":{"name":"a","labels":[]},"spec":{"egress":[[]]}}`,
			[]string{`"name":"a"`}, []string{"spec.egress[0].protocol"}},
		{&v3.GlobalNetworkPolicy{},
			`{"metadata":{"name":"a"},"spec":{"egress":"all","preDNAT":"no","namespaceSelector":{}}}`, nil,
			[]string{"spec.egress[0].action", "spec.egress[0].protocol", "spec.namespaceSelector"}},
		{&v3.StagedNetworkPolicy{},
			`{"metadata":{"name":"a"},"spec":{"serviceAccountSelector":[],"egress":[7,{"action":{}}]}}`, nil,
			[]string{"spec.serviceAccountSelector", "spec.egress[0].action", "spec.egress[1].protocol"}},
		{&v3.Profile{}, `{"metadata":{"name":"a"},"spec":{"ingress":[{"action":"Allow","icmp":{"type":"echo"}}],"labelsToApply":{"a":"b"}}}`,
			[]string{`"a":"b"`}, []string{"spec.ingress[0].protocol"}},
		// One whose place is not known comes first: it denies, and allows nothing.
		{&v3.GlobalNetworkPolicy{},
			`{"metadata":{"name":"a"},"spec":{"order":"10","egress":[{"action":"Deny","protocol":"TCP"},{"action":"Allow","protocol":"UDP"}]}}`,
			[]string{`{"action":"Deny","protocol":"TCP"}`, `"order":-1.79`},
			[]string{"spec.egress[1].protocol", "spec.egress[2].protocol"}},
		{&v3.NetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"types":["Egress",7],"tier":[]}}`,
			[]string{`"types":["Ingress","Egress"]`}, []string{"spec.ingress[0].protocol"}},
		{&v3.GlobalNetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"applyOnForward":"yes","preDNAT":1}}`,
			[]string{`"applyOnForward":true`}, []string{"spec.ingress[0].protocol"}},
		{&v3.GlobalNetworkPolicy{}, `{"metadata":{"name":"a"},"spec":7}`,
			[]string{`"types":["Ingress","Egress"]`, `"action":""`}, []string{"spec.selector"}},
		{&v3.NetworkPolicy{}, `{"spec": {"selec`, []string{`"types":["Ingress","Egress"]`}, []string{"spec.selector"}},
		{&v3.Profile{}, `{"metadata":{"name":"a"},"spec":{"labelsToApply":{"a":"b","c":7}}}`, []string{`{"a":"b"}`},
			[]string{"spec.ingress[0].protocol"}},
		{&v3.NetworkSet{}, `{"metadata":{"name":"a","labels":{"a":"b","c":7}},"spec":{"nets":["10.0.0.0/8",7]}}`,
			[]string{`{"a":"b"}`, `"10.0.0.0/8"`}, []string{"spec.nets[1]", "spec.nets[2]"}},
		{&v3.Tier{}, `{"metadata":{"name":"a"},"spec":{"order":"7","defaultAction":"Pass"}}`, nil,
			[]string{"spec.defaultAction"}},
		{&v3.HostEndpoint{}, `{"kind":7,"metadata":{"name":"a"},"spec":{"node":"n1","interfaceName":"eth0","expectedIPs":["10.0.0.1",7],"ports":[{"name":"a","port":"b","protocol":"TCP"}]}}`,
			[]string{`"node":"n1"`, `"10.0.0.1"`}, []string{"spec.expectedIPs[1]", "spec.ports[0].protocol"}},
	} {
		if json.Unmarshal([]byte(tt.given), tt.object.DeepCopyObject()) == nil {
			t.Errorf("%s needs no repair", tt.given)
		}
		repaired, ok := JSON(kinds[reflect.TypeOf(tt.object)], []byte(tt.given))
		if err := json.Unmarshal(repaired, tt.object); !ok || err != nil {
			t.Errorf("%s: %s: %v", tt.given, repaired, err)
			continue
		}
		for _, text := range tt.kept {
			if !strings.Contains(string(repaired), text) {
				t.Errorf("%s: %s lacks %s", tt.given, repaired, text)
			}
		}
		said := validate.Object(tt.object).ToAggregate()
		for _, path := range tt.said {
			if said == nil || !strings.Contains(said.Error(), path+": ") {
				t.Errorf("%s: %v says nothing of %s", repaired, said, path)
			}
		}
	}
	for text, object := range map[string]any{`[]`: &v3.HostEndpoint{}, `{"spec":7}`: &v3.NetworkSet{},
		`{"spec":{}}`: nil} {
		if _, ok := JSON(kinds[reflect.TypeOf(object)], []byte(text)); ok {
			t.Errorf("%T %s was repaired", object, text)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":7,"labels":{}},"spec":{"ingress":[{"action":7}],"selector":[],"ports":{},"expectedIPs":[null]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for as, kind := range kinds {
			if repaired, ok := JSON(kind, body); ok {
				if err := json.Unmarshal(repaired, reflect.New(as.Elem()).Interface()); err != nil {
					t.Errorf("%s %s became %s: %v", kind, body, repaired, err)
				}
			}
		}
	})
}
