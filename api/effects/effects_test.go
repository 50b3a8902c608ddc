package effects_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/maneki-net/maneki/api/effects"
	v3 "github.com/maneki-net/maneki/api/v3"
)

func names(found []effects.Finding) []string {
	var all []string
	for _, f := range found {
		name := f.Name
		if f.Value != "" {
			name += "=" + f.Value
		}
		all = append(all, name)
	}
	return all
}

func TestOf(t *testing.T) {
	yes, no, debug := true, false, "Debug"
	rules := []v3.Rule{
		{Action: v3.Allow, Metadata: &v3.RuleMetadata{Annotations: map[string]string{"a": "b"}}},
		{Action: v3.Allow, Metadata: &v3.RuleMetadata{Annotations: map[string]string{"c": "d"}}},
		{Action: v3.Deny, HTTP: &v3.HTTPMatch{Methods: []string{"GET"}}},
	}
	for _, c := range []struct {
		name   string
		object runtime.Object
		want   []string
	}{
		{"a value", &v3.FelixConfiguration{Spec: v3.FelixConfigurationSpec{WireguardEnabled: &yes}},
			[]string{"spec.wireguardEnabled=true"}},
		{"a value that asks for nothing",
			&v3.FelixConfiguration{Spec: v3.FelixConfigurationSpec{WireguardEnabled: &no}}, nil},
		{"a value in another case", &v3.BGPConfiguration{Spec: v3.BGPConfigurationSpec{LogSeverityScreen: "info"}},
			nil},
		{"a list that asks for nothing", &v3.FelixConfiguration{Spec: v3.FelixConfigurationSpec{
			BPFForceTrackPacketsFromIfaces: []string{"docker+"}}}, nil},
		{"what works", &v3.FelixConfiguration{Spec: v3.FelixConfigurationSpec{LogSeverityScreen: &debug}}, nil},
		{"nothing", &v3.IPPool{}, nil},
		{"a whole spec", &v3.StagedNetworkPolicy{Spec: v3.StagedNetworkPolicySpec{Selector: "all()", Ingress: rules}},
			[]string{"spec"}},
		{"an object", &v3.BGPPeer{Spec: v3.BGPPeerSpec{PeerIP: "10.0.0.1",
			Password: &v3.BGPPassword{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}}}, []string{"spec.password"}},
		{"items of a list, each once", &v3.NetworkPolicy{Spec: v3.NetworkPolicySpec{Ingress: rules}},
			[]string{"spec.ingress[].metadata", "spec.ingress[].http"}},
		{"items of a list, some without effect", &v3.IPPool{Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16",
			AllowedUses: []v3.IPPoolAllowedUse{"Workload", "LoadBalancer"}}},
			[]string{"spec.allowedUses[]=LoadBalancer"}},
		{"annotations and labels", &v3.FelixConfiguration{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{"config.projectcalico.org/a": "b", "projectcalico.org/metadata": "{}"},
			Labels:      map[string]string{"projectcalico.org/tier": "default"}}},
			[]string{"config.projectcalico.org/a=b"}},
		{"another group", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{"cni.projectcalico.org/hwAddr": "02:00:00:00:00:01"}}}, nil},
	} {
		if diff := cmp.Diff(c.want, names(effects.Of(c.object))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestWithin: of an object without effect whose parts are all values that ask for nothing, nothing is missing.
func TestWithin(t *testing.T) {
	object := &v3.KubeControllersConfiguration{}
	object.Spec.Controllers.Policy = &v3.PolicyControllerConfig{ReconcilerPeriod: &metav1.Duration{Duration: 5 * 60e9}}
	if found := effects.Of(object); len(found) > 0 {
		t.Errorf("of the default period: %v", found)
	}
	object.Spec.Controllers.Policy.ReconcilerPeriod.Duration *= 2
	if diff := cmp.Diff([]string{"spec.controllers.policy"}, names(effects.Of(object))); diff != "" {
		t.Error(diff)
	}
}

func TestAnnotations(t *testing.T) {
	given := map[string]string{
		"cni.projectcalico.org/hwAddr":  "02:00:00:00:00:01",
		"cni.projectcalico.org/ipAddrs": `["10.0.0.1"]`,
		"cni.projectcalico.org/podIP":   "10.0.0.1/32",
		"example.com/hwAddr":            "02:00:00:00:00:01",
	}
	want := []string{"cni.projectcalico.org/hwAddr=02:00:00:00:00:01"}
	if diff := cmp.Diff(want, names(effects.Annotations("Pod", given))); diff != "" {
		t.Error(diff)
	}
	if found := effects.Annotations("Service", given); len(found) > 0 {
		t.Errorf("of a Service: %v", found)
	}
}

func TestForSetting(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"wireguardENABLED", "TRUE", true},
		{"WireguardEnabled", "False", false},
		{"WireguardEnabled", "no", false},
		{"WireguardEnabled", "1", true},
		{"WireguardEnabled", "", false},
		{"LogSeverityScreen", "DEBUG", false},
		{"XDPRefreshInterval", "90s", false},
		{"XDPRefreshInterval", "90", false},
		{"UsageReportingInterval", "24h", false},
		{"IptablesPostWriteCheckIntervalSecs", "5000ms", false},
		{"NoSuchSetting", "1", false},
	} {
		if f, ok := effects.ForSetting(c.name, c.value); ok != c.want || ok && !f.Protects {
			t.Errorf("%s=%s: %v %v", c.name, c.value, f, ok)
		}
	}
}

func TestString(t *testing.T) {
	find := func(class effects.Class, on, name, value string) string {
		row, ok := effects.Lookup(class, on, name)
		if !ok {
			t.Fatalf("no row of %s", name)
		}
		return effects.Finding{Row: row, Value: value}.String()
	}
	for text, want := range map[string]string{
		find(effects.Field, "FelixConfiguration", "spec.wireguardEnabled",
			"true"): "spec.wireguardEnabled: has no effect yet: ",
		find(effects.Field, "FelixConfiguration", "spec.chainInsertMode",
			"Append"): `spec.chainInsertMode: "Append" has no effect yet: `,
		find(effects.Field, "BGPPeer", "spec.password",
			""): "spec.password: has no effect yet: ",
		find(effects.Setting, "", "WIREGUARDENABLED",
			"true"): "WireguardEnabled: has no effect yet: ",
		find(effects.Annotation, "Pod", "cni.projectcalico.org/hwAddr",
			"02:00:00:0:01"): "annotation cni.projectcalico.org/hwAddr: has no effect yet: ",
	} {
		if !strings.HasPrefix(text, want) {
			t.Errorf("%q does not begin with %q", text, want)
		}
	}
}

// TestLengths: a warning of the API server is cut after 256 characters.
func TestLengths(t *testing.T) {
	for _, class := range []effects.Class{effects.Field, effects.Setting, effects.Annotation, effects.Label} {
		for _, row := range effects.Rows(class) {
			if text := (effects.Finding{Row: row, Value: strings.Repeat("x", 100)}).String(); len(text) > 220 {
				t.Errorf("%d characters are too many: %s", len(text), text)
			}
		}
	}
}
