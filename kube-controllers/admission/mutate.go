package admission

import (
	"context"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/maneki-net/maneki/api/defaults"
)

// defaulter completes policies. It refuses nothing: what is wrong with an object, validation says afterwards.
type defaulter struct{ *handler }

// completed are the fields that a policy may leave out. All others stay as they were sent, also those of a CRD that is
// newer than our Go types.
var completed = [][]string{{"metadata", "labels"}, {"spec", "tier"}, {"spec", "types"}}

// Handle returns what is to be added to a policy.
func (d defaulter) Handle(_ context.Context, request admission.Request) admission.Response {
	object, err := d.decode(schema.GroupVersionKind(request.Kind), request.Object)
	if err != nil {
		return admission.Allowed("")
	}
	if o, ok := object.(metav1.Object); !ok || !o.GetDeletionTimestamp().IsZero() {
		return admission.Allowed("")
	}
	defaults.Derive(object)
	patched, err := overlay(request.Object.Raw, object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError,
			fmt.Errorf("%s %s: %w", request.Kind.Kind, request.Name, err))
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, patched)
}

// overlay returns an object's JSON with the fields that have been completed.
func overlay(raw []byte, object runtime.Object) ([]byte, error) {
	from, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	var content map[string]any
	if err := json.Unmarshal(raw, &content); err != nil {
		return nil, err
	}
	for _, path := range completed {
		value, found, err := unstructured.NestedFieldNoCopy(from, path...)
		if err == nil && found {
			err = unstructured.SetNestedField(content, value, path...)
		}
		if err != nil {
			return nil, err
		}
	}
	return json.Marshal(content)
}
