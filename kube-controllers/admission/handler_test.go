package admission

import (
	"encoding/json"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"slices"
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestHandle(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pool := func(name, cidr string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	going := pool("bad", "10.0.0.0")
	going.DeletionTimestamp = &metav1.Time{}
	going.DeletionTimestamp.Time = metav1.Now().Time
	exists := pool("exists", "10.0.0.0/16")
	tests := map[string]struct {
		object, old any
		kind        string
		want        string // part of the refusal; "" when allowed
	}{
		"sound":                    {pool("a", "10.1.0.0/16"), nil, "IPPool", ""},
		"malformed":                {pool("a", "10.1.0.0"), nil, "IPPool", `IPPool.projectcalico.org "a" is invalid: spec.cidr`},
		"overlaps another":         {pool("a", "10.0.1.0/24"), nil, "IPPool", "exists"},
		"replaces itself":          {exists, exists, "IPPool", ""},
		"CIDR changed":             {pool("exists", "10.2.0.0/16"), exists, "IPPool", "spec.cidr"},
		"was not readable":         {pool("a", "10.1.0.0/16"), map[string]any{"metadata": map[string]any{"name": "a"}, "spec": 7}, "IPPool", ""},
		"wrong, but being deleted": {going, pool("bad", "10.0.0.0"), "IPPool", ""},
		"unknown kind":             {pool("a", "10.1.0.0/16"), nil, "Gadget", "Gadget"},
		"not an object":            {"text", nil, "IPPool", "IPPool"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHandler(fake.NewClientBuilder().WithScheme(scheme).WithObjects(exists.DeepCopy()).Build(), scheme)
			request := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Kind: metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version, Kind: test.kind},
				Name: "a", Operation: admissionv1.Create, Object: encoded(t, test.object),
			}}
			if test.old != nil {
				request.Operation, request.OldObject = admissionv1.Update, encoded(t, test.old)
			}
			response := h.Handle(t.Context(), request)
			switch {
			case test.want == "" && !response.Allowed:
				t.Errorf("refused: %s", response.Result.Message)
			case test.want != "" && (response.Allowed || !strings.Contains(response.Result.Message, test.want)):
				t.Errorf("response %+v, want a refusal with %q", response, test.want)
			}
		})
	}
}

func encoded(t *testing.T, object any) runtime.RawExtension {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: raw}
}

func TestDeletionOfTiers(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	in := func(tier string) *v3.NetworkPolicy {
		return &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: v3.NetworkPolicySpec{Tier: tier}}
	}
	staged := &v3.StagedGlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "tried"}, Spec: v3.StagedGlobalNetworkPolicySpec{Tier: "trial"}}
	h := newHandler(fake.NewClientBuilder().WithScheme(scheme).WithObjects(in("ops"), staged).Build(), scheme)
	for name, want := range map[string]string{
		"default": "always exists", "ops": "NetworkPolicy shop/web", "trial": "StagedGlobalNetworkPolicy tried", "empty": "",
	} {
		response := h.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Kind: metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version, Kind: "Tier"},
			Name: name, Operation: admissionv1.Delete,
		}})
		if response.Allowed != (want == "") || want != "" && !strings.Contains(response.Result.Message, want) {
			t.Errorf("tier %s: %+v, want %q", name, response, want)
		}
	}
}

func TestDefaulter(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	const label = `{"op":"add","path":"/metadata/labels","value":{"projectcalico.org/tier":"default"}}`
	for given, want := range map[string]string{
		`{"metadata":{"name":"a"},"spec":{"tier":"default","order":1000000,"newer":{"x":1},"egress":[{"action":"Allow"}]}}`: label + ` {"op":"add","path":"/spec/types","value":["Egress"]}`,
		`{"metadata":{"name":"a"}}`: label + ` {"op":"add","path":"/spec","value":{"tier":"default","types":["Ingress"]}}`,
		`{"metadata":{"name":"a","labels":{"projectcalico.org/tier":"ops"}},"spec":{"tier":"ops","types":["Egress"],"ingress":[{"action":"Allow","source":{}}]}}`: ``,
		`{"metadata":{"name":"a","labels":{"x":"y"}},"spec":{"tier":"ops","types":["Egress"]}}`:                                                                   `{"op":"add","path":"/metadata/labels/projectcalico.org~1tier","value":"ops"}`,
		`{"metadata":{"name":"a"},"spec":{"ingress":"none"}}`:                                                                                                     ``, // validation refuses it
	} {
		response := defaulter{newHandler(nil, scheme)}.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Kind:      metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version, Kind: "NetworkPolicy"},
			Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: []byte(given)},
		}})
		var operations []string
		for _, p := range response.Patches {
			operations = append(operations, p.Json())
		}
		slices.Sort(operations)
		if got := strings.Join(operations, " "); !response.Allowed || got != want {
			t.Errorf("%s\n got %s\nwant %s", given, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	p := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v3.NetworkPolicySpec{
		Types: []v3.PolicyType{v3.PolicyTypeIngress}, Egress: []v3.Rule{{Action: v3.Allow}}}}
	response := newHandler(nil, scheme).Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Kind:      metav1.GroupVersionKind{Group: v3.GroupVersion.Group, Version: v3.GroupVersion.Version, Kind: "NetworkPolicy"},
		Operation: admissionv1.Create, Object: encoded(t, p),
	}})
	if !response.Allowed || len(response.Warnings) != 1 || !strings.Contains(response.Warnings[0], "spec.egress") {
		t.Errorf("response %+v", response)
	}
}
