package admission

import (
	"context"
	"fmt"
	"net/http"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/maneki-net/maneki/api/defaults"
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
	if request.Operation == admissionv1.Delete {
		return h.handleDeletion(ctx, request)
	}
	object, err := h.decode(kind, request.Object)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("%s %s: %w", kind.Kind, request.Name, err))
	}
	if o, ok := object.(metav1.Object); ok && !o.GetDeletionTimestamp().IsZero() {
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
		return admission.Allowed("").WithWarnings(validate.Warnings(object)...)
	}
	status := apierrors.NewInvalid(kind.GroupKind(), request.Name, errs).Status()
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}
}

// handleDeletion judges the removal of a tier; other kinds come here only if somebody else changes the webhook's rules.
func (h *handler) handleDeletion(ctx context.Context, request admission.Request) admission.Response {
	if request.Kind.Kind != "Tier" {
		return admission.Allowed("")
	}
	policies, err := h.policiesOf(ctx, request.Name)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if err := validate.DeleteTier(request.Name, policies); err != nil {
		return admission.Denied(err.Error())
	}
	return admission.Allowed("")
}

// policiesOf names the policies of a tier.
func (h *handler) policiesOf(ctx context.Context, tier string) ([]string, error) {
	var names []string
	for _, list := range []client.ObjectList{
		&v3.GlobalNetworkPolicyList{}, &v3.NetworkPolicyList{}, &v3.StagedGlobalNetworkPolicyList{}, &v3.StagedNetworkPolicyList{},
	} {
		if err := h.live.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list the policies of tier %s: %w", tier, err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			if defaults.Tier(o) == tier {
				names = append(names, nameOf(o))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list the policies of tier %s: %w", tier, err)
		}
	}
	return names, nil
}

// nameOf gives kind, namespace and name, for messages.
func nameOf(o runtime.Object) string {
	kind := reflect.TypeOf(o).Elem().Name()
	accessor, ok := o.(metav1.Object)
	switch {
	case !ok:
		return kind
	case accessor.GetNamespace() != "":
		return kind + " " + accessor.GetNamespace() + "/" + accessor.GetName()
	}
	return kind + " " + accessor.GetName()
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
