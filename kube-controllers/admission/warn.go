package admission

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
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
