package admission

import (
	"context"
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/maneki-net/maneki/api/validate"
)

// warner answers requests for policies of Kubernetes' own kinds. It allows all of them, including those that it cannot
// read: the API server validates these kinds.
type warner struct{ *handler }

// Handle adds a warning for a policy that Typha will not use.
func (w warner) Handle(_ context.Context, request admission.Request) admission.Response {
	allowed := admission.Allowed("")
	object, err := w.decode(schema.GroupVersionKind(request.Kind), request.Object)
	if err != nil {
		return allowed
	}
	if o, ok := object.(metav1.Object); !ok || !o.GetDeletionTimestamp().IsZero() {
		return allowed
	}
	return allowed.WithWarnings(w.tooLarge(object)...)
}

// newlyEmpty returns warnings for the selectors that a request makes empty. kubectl sends an empty one where YAML takes
// the text for a tag.
func newlyEmpty(request admission.Request) []string {
	var object, old map[string]any
	if json.Unmarshal(request.Object.Raw, &object) != nil {
		return nil // it has been decoded before
	}
	if len(request.OldObject.Raw) > 0 && json.Unmarshal(request.OldObject.Raw, &old) != nil {
		old = nil // what cannot be read had no selector
	}
	before := validate.EmptySelectors(old)
	return slices.DeleteFunc(validate.EmptySelectors(object), func(w string) bool { return slices.Contains(before, w) })
}
