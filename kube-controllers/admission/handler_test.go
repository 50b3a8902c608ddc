package admission

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

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
