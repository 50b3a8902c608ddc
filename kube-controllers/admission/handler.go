package admission

import (
	"context"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
)

// handler answers admission requests.
type handler struct {
	// live reads what other objects exist now: with a cache, two pools applied one after
	// the other would not see each other.
	live    client.Reader
	scheme  *runtime.Scheme
	decoder admission.Decoder
}

func newHandler(live client.Reader, scheme *runtime.Scheme) *handler {
	return &handler{live: live, scheme: scheme, decoder: admission.NewDecoder(scheme)}
}

// Handle allows an object, or denies it with every field that is wrong.
func (h *handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	kind := schema.GroupVersionKind(request.Kind)
	object, err := h.decode(kind, request.Object)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("%s %s: %w", kind.Kind, request.Name, err))
	}
	if meta, ok := object.(metav1.Object); ok && !meta.GetDeletionTimestamp().IsZero() {
		// Finalizers must be able to go from an object that is wrong, too.
		return admission.Allowed("")
	}
	var errs field.ErrorList
	if request.Operation == admissionv1.Update {
		old, err := h.decode(kind, request.OldObject)
		if err != nil {
			return admission.Errored(http.StatusBadRequest, fmt.Errorf("%s %s as it was: %w", kind.Kind, request.Name, err))
		}
		errs = validate.Update(object, old)
	} else {
		errs = validate.Object(object)
	}
	if pool, ok := object.(*v3.IPPool); ok {
		var others v3.IPPoolList
		if err := h.live.List(ctx, &others); err != nil {
			return admission.Errored(http.StatusInternalServerError, fmt.Errorf("list IP pools: %w", err))
		}
		errs = append(errs, validate.Pools(pool, pointers(others.Items))...)
	}
	if len(errs) == 0 {
		return admission.Allowed("")
	}
	status := apierrors.NewInvalid(kind.GroupKind(), request.Name, errs).Status()
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}
}

func (h *handler) decode(kind schema.GroupVersionKind, raw runtime.RawExtension) (runtime.Object, error) {
	object, err := h.scheme.New(kind)
	if err != nil {
		return nil, err
	}
	return object, h.decoder.DecodeRaw(raw, object)
}

func pointers(pools []v3.IPPool) []*v3.IPPool {
	all := make([]*v3.IPPool, len(pools))
	for i := range pools {
		all[i] = &pools[i]
	}
	return all
}
