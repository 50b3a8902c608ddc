package repair

import (
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
)

// TestJSON: what was readable stays, and each thing that was not is found by who judges the object.
func TestJSON(t *testing.T) {
	const port = `{"action":"Deny","protocol":"TCP","destination":{"ports":[{}]}}`
	for _, tt := range []struct {
		object     runtime.Object
		given      string
		kept, said []string
	}{
		{&v3.NetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"selector":"all()","ingress":[{"action":"Allow","protocol":"UDP"},` + port + `]}}`,
			[]string{`"protocol":"UDP"`, `"selector":"all()"`, `"action":"Deny"`}, []string{"spec.ingress[1].protocol"}},
		{&v3.NetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"selector":7,"order":"first","tier":"ops"}}`, []string{`"tier":"ops"`}, []string{"spec.selector"}},
		{&v3.GlobalNetworkPolicy{}, `{"metadata":{"name":"a","labels":[]},"spec":{"egress":[[]]}}`, []string{`"name":"a"`}, []string{"spec.egress[0].protocol"}},
		{&v3.GlobalNetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"egress":"all","preDNAT":"no","namespaceSelector":{}}}`, nil,
			[]string{"spec.egress[0].action", "spec.egress[0].protocol", "spec.namespaceSelector"}},
		{&v3.StagedNetworkPolicy{}, `{"metadata":{"name":"a"},"spec":{"serviceAccountSelector":[],"egress":[7,{"action":{}}]}}`, nil,
			[]string{"spec.serviceAccountSelector", "spec.egress[0].action", "spec.egress[1].protocol"}},
		{&v3.Profile{}, `{"metadata":{"name":"a"},"spec":{"ingress":[{"action":"Allow","icmp":{"type":"echo"}}],"labelsToApply":{"a":"b"}}}`,
			[]string{`"a":"b"`}, []string{"spec.ingress[0].protocol"}},
		{&v3.HostEndpoint{}, `{"kind":7,"metadata":{"name":"a"},"spec":{"node":"n1","interfaceName":"eth0","expectedIPs":["10.0.0.1",7],"ports":[{"name":"a","port":"b","protocol":"TCP"}]}}`,
			[]string{`"node":"n1"`, `"10.0.0.1"`}, []string{"spec.expectedIPs[1]", "spec.ports[0].protocol"}},
	} {
		kind := reflect.TypeOf(tt.object).Elem().Name()
		if json.Unmarshal([]byte(tt.given), tt.object.DeepCopyObject()) == nil {
			t.Errorf("%s needs no repair", tt.given)
		}
		repaired, ok := JSON(kind, []byte(tt.given))
		if err := json.Unmarshal(repaired, tt.object); !ok || err != nil {
			t.Errorf("%s %s: %s: %v", kind, tt.given, repaired, err)
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
	for text, kind := range map[string]string{`{"spec":{}}`: "IPPool", `[]`: "NetworkPolicy", `{"spec":7}`: "NetworkPolicy"} {
		if _, ok := JSON(kind, []byte(text)); ok {
			t.Errorf("%s %s was repaired", kind, text)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":7,"labels":{}},"spec":{"ingress":[{"action":7}],"selector":[],"ports":{},"expectedIPs":[null]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for kind, o := range map[string]any{"NetworkPolicy": &v3.NetworkPolicy{}, "GlobalNetworkPolicy": &v3.GlobalNetworkPolicy{}, "HostEndpoint": &v3.HostEndpoint{}, "Profile": &v3.Profile{}} {
			if repaired, ok := JSON(kind, body); ok {
				if err := json.Unmarshal(repaired, o); err != nil {
					t.Errorf("%s %s became %s: %v", kind, body, repaired, err)
				}
			}
		}
	})
}
