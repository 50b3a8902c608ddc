package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/time/rate"
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
	"github.com/maneki-net/maneki/typha/calc/compile"
)

// handler answers admission requests. Anybody who reaches its port may send them, and a request does not prove that it
// comes from an API server. So the reads for a request are limited.
type handler struct {
	// live reads what other objects exist now: with a cache, two pools applied one after
	// the other would not see each other.
	live client.Reader
	// cached has most tiers; it may lack new ones.
	cached   client.Reader
	scheme   *runtime.Scheme
	decoder  admission.Decoder
	allPools shared[[]*v3.IPPool]
	// budget is Typha's: a policy beyond it is too large to be used.
	budget compile.Budget
	// unknown limits the deletions of tiers that the cache does not have.
	unknown *rate.Limiter
}

const (
	poolsEvery   = 50 * time.Millisecond // a reading of the pools
	unknownEvery = 200 * time.Millisecond
	unknownBurst = 20
)

func newHandler(live, cached client.Reader, scheme *runtime.Scheme) *handler {
	h := &handler{live: live, cached: cached, scheme: scheme, decoder: admission.NewDecoder(scheme),
		unknown: rate.NewLimiter(rate.Every(unknownEvery), unknownBurst)}
	h.allPools = shared[[]*v3.IPPool]{read: h.pools, every: poolsEvery}
	return h
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
		others, err := h.allPools.get(ctx)
		if err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		errs = append(errs, validate.Pools(pool, others)...)
	}
	if len(errs) == 0 {
		warnings := append(validate.Warnings(object), newlyEmpty(request)...)
		return admission.Allowed("").WithWarnings(append(warnings, h.tooLarge(object)...)...)
	}
	status := apierrors.NewInvalid(kind.GroupKind(), request.Name, errs).Status()
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}
}

// tooLarge returns a warning for a policy that Typha will not use.
func (h *handler) tooLarge(object runtime.Object) []string {
	o, is := object.(metav1.Object)
	if !is {
		return nil
	}
	if reason := h.budget.Exceeded(o); reason != "" {
		return []string{reason}
	}
	return nil
}

// handleDeletion judges the removal of a tier; other kinds come here only if somebody else changes the webhook's rules.
func (h *handler) handleDeletion(ctx context.Context, request admission.Request) admission.Response {
	if request.Kind.Kind != "Tier" {
		return admission.Allowed("")
	}
	if err := validate.DeleteTier(request.Name, nil); err != nil {
		return admission.Denied(err.Error())
	}
	exists, err := h.exists(ctx, request)
	if errors.Is(err, errBusy) {
		return admission.Errored(http.StatusTooManyRequests, err)
	}
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if !exists {
		return admission.Allowed("") // there is nothing to delete
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

var errBusy = errors.New("too many deletions of tiers are asked for: try again")

// exists reports whether the tier to be deleted exists. An API server sends its UID, which a stranger does not know.
func (h *handler) exists(ctx context.Context, request admission.Request) (bool, error) {
	sent := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(request.OldObject.Raw, sent); err != nil {
		return false, fmt.Errorf("read the tier that is to be deleted: %w", err)
	}
	tier, key := &v3.Tier{}, client.ObjectKey{Name: request.Name}
	if h.cached.Get(ctx, key, tier) == nil && tier.UID == sent.UID {
		return true, nil
	}
	if !h.unknown.Allow() {
		return false, errBusy
	}
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(datastore.Tiers.GroupVersion().WithKind(datastore.Tiers.String()))
	err := h.live.Get(ctx, key, found)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read Tier %s: %w", request.Name, err)
	}
	return found.UID == sent.UID, nil
}

// mostNamed is how many policies of a kind are listed: validate.DeleteTier names fewer.
const mostNamed = 6

// policiesOf returns the names of some policies of a tier. API servers select them by a selectable field of the CRDs.
func (h *handler) policiesOf(ctx context.Context, tier string) ([]string, error) {
	var names []string
	for _, kind := range []datastore.Kind{
		datastore.GlobalNetworkPolicies, datastore.CalicoNetworkPolicies,
		datastore.StagedGlobalNetworkPolicies, datastore.StagedNetworkPolicies,
	} {
		list, err := h.list(ctx, kind, client.MatchingFields{"spec.tier": tier}, client.Limit(mostNamed))
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			names = append(names, kind.String()+" "+datastore.KeyOf(&list.Items[i]).String())
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

// pools returns those that there are, but for any that cannot be read.
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
func (h *handler) list(ctx context.Context, kind datastore.Kind, opts ...client.ListOption) (
	*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.String() + "List"))
	if err := h.live.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("list %s: %w", kind.Plural, err)
	}
	return list, nil
}
