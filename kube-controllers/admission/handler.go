package admission

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/datastore"
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
	errs := validate.Object(object)
	if request.Operation == admissionv1.Update {
		// What cannot even be read must be able to become right.
		if old, err := h.decode(kind, request.OldObject); err == nil {
			errs = validate.Update(object, old)
		}
	}
	if pool, ok := object.(*v3.IPPool); ok {
		others, err := h.pools(ctx)
		if err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		errs = append(errs, validate.Pools(pool, others)...)
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
	for _, kind := range []datastore.Kind{
		datastore.GlobalNetworkPolicies, datastore.CalicoNetworkPolicies,
		datastore.StagedGlobalNetworkPolicies, datastore.StagedNetworkPolicies,
	} {
		list, err := h.list(ctx, kind)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			p := &list.Items[i]
			of, _, _ := unstructured.NestedString(p.Object, "spec", "tier")
			if cmp.Or(of, v3.DefaultTier) == tier {
				names = append(names, kind.String()+" "+datastore.KeyOf(p).String())
			}
		}
	}
	return names, nil
}

func (h *handler) decode(kind schema.GroupVersionKind, raw runtime.RawExtension) (runtime.Object, error) {
	object, err := h.scheme.New(kind)
	if err != nil {
		return nil, err
	}
	return object, h.decoder.DecodeRaw(raw, object)
}

// pools gives those that there are, but for any that cannot be read.
func (h *handler) pools(ctx context.Context) ([]*v3.IPPool, error) {
	list, err := h.list(ctx, datastore.IPPools)
	if err != nil {
		return nil, err
	}
	var all []*v3.IPPool
	for i := range list.Items {
		pool := &v3.IPPool{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, pool) == nil {
			all = append(all, pool)
		}
	}
	return all, nil
}

// list reads the objects of a kind without decoding them: one that cannot be read must not keep the others.
func (h *handler) list(ctx context.Context, kind datastore.Kind) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.String() + "List"))
	if err := h.live.List(ctx, list); err != nil {
		return nil, fmt.Errorf("list %s: %w", kind.Plural, err)
	}
	return list, nil
}
