// Package kubernetes is a Store over the Kubernetes API server: our resources are its
// custom resources, and Kubernetes' own are what they are.
//
// It owns the HTTP connections and, for each watch, the goroutine of client-go that reads
// it. It links no clientset: the agent on every node has this package in it, so it knows only the
// API groups that are used. It caches nothing but the version in which a kind is served. Any number of goroutines may
// use a Store.
package kubernetes

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// defaultPageSize keeps the answers of the API server, and what it must hold for them, small.
const defaultPageSize = 1000

// Store implements datastore.Store. Make one by New.
type Store struct {
	scheme  *runtime.Scheme
	clients map[schema.GroupVersion]rest.Interface
	// dryRun is All or nothing, the option of every write.
	dryRun []string
	// merge updates our kinds by patches.
	merge bool
	// versions are the versions of kinds that the server does not serve in ours: string by datastore.Kind.
	versions *sync.Map
}

var _ datastore.Store = (*Store)(nil)

// New makes a Store from the configuration of a client, which it copies. It does not connect: an unreachable
// server shows as ErrUnavailable at the first use. Requests are not throttled unless
// the configuration says so, since the API server does that better.
func New(cfg *rest.Config) (*Store, error) {
	s := &Store{scheme: runtime.NewScheme(), clients: map[schema.GroupVersion]rest.Interface{}, versions: &sync.Map{}}
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme, policyv1alpha2.Install, v3.AddToScheme} {
		if err := add(s.scheme); err != nil {
			return nil, fmt.Errorf("register API types: %w", err)
		}
	}
	http, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
	}
	codecs := serializer.NewCodecFactory(s.scheme).WithoutConversion()
	for _, gv := range []schema.GroupVersion{
		corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion, networkingv1.SchemeGroupVersion,
		datastore.ClusterNetworkPolicies.GroupVersion(), v3.GroupVersion} {
		c := rest.CopyConfig(cfg)
		c.GroupVersion, c.NegotiatedSerializer = &gv, lenient{codecs, s.scheme}
		c.APIPath = "/apis"
		if gv.Group == "" {
			c.APIPath = "/api"
		}
		c.AcceptContentTypes, c.ContentType = "", runtime.ContentTypeJSON
		if gv != v3.GroupVersion && gv != datastore.ClusterNetworkPolicies.GroupVersion() {
			// Custom resources have JSON only.
			c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
			c.ContentType = runtime.ContentTypeProtobuf
		}
		if c.QPS == 0 && c.RateLimiter == nil {
			c.QPS = -1
		}
		client, err := rest.RESTClientForConfigAndClient(c, http)
		if err != nil {
			return nil, fmt.Errorf("client of %s for %s: %w", cfg.Host, gv, err)
		}
		s.clients[gv] = client
	}
	return s, nil
}

// DryRun returns a Store over the same connections whose writes the API server judges, defaults and answers, and does
// not keep.
func (s *Store) DryRun() datastore.Store {
	other := *s
	other.dryRun = []string{metav1.DryRunAll}
	return &other
}

// Merging returns a Store over the same connections whose Update sends only what differs, of every kind: fields
// of a newer server that our types do not know stay. It costs a read.
func (s *Store) Merging() *Store {
	other := *s
	other.merge = true
	return &other
}

// Get implements datastore.Store.
func (s *Store) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (datastore.Object, error) {
	o, err := s.object(ctx, kind, s.client(kind).Get().
		NamespaceIfScoped(key.Namespace, kind.Namespaced).Resource(kind.Plural).Name(key.Name))
	if err != nil {
		return nil, opError(ctx, "get", kind, key, err)
	}
	return o, nil
}

// List implements datastore.Store.
func (s *Store) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	limit := opts.PageSize
	if limit == 0 {
		limit = defaultPageSize
	}
	s.versions.Delete(kind) // our version may be served again
	list, err := s.listPaged(ctx, kind, opts, limit)
	if kind.Optional && sentinel(err) == datastore.ErrNoKind {
		instead, empty, err := s.absent(ctx, kind)
		if err != nil || instead == "" {
			return empty, err
		}
		s.versions.Store(kind, instead)
		list, err = s.listPaged(ctx, kind, opts, limit)
		if err != nil {
			return datastore.List{}, opError(ctx, "list", kind, datastore.Key{},
				fmt.Errorf("version %s: %w", instead, err))
		}
		return list, nil
	}
	if err != nil {
		return datastore.List{}, opError(ctx, "list", kind, datastore.Key{}, err)
	}
	return list, nil
}

// listPaged lists in pages, or all at once if that fails.
func (s *Store) listPaged(
	ctx context.Context, kind datastore.Kind, opts datastore.ListOptions, limit int64) (datastore.List, error) {
	list, err := s.list(ctx, kind, opts, limit)
	if limit > 0 && sentinel(err) == datastore.ErrExpired {
		// The snapshot behind the pages has expired.
		list, err = s.list(ctx, kind, opts, 0)
	}
	return list, err
}

func (s *Store) list(
	ctx context.Context, kind datastore.Kind, opts datastore.ListOptions, limit int64) (datastore.List, error) {
	var list datastore.List
	params := metav1.ListOptions{FieldSelector: opts.Field, Limit: limit}
	for {
		m, err := s.page(kind, s.request(kind, opts, params).Do(ctx), &list)
		if err != nil {
			return list, err
		}
		list.Revision = m.ResourceVersion
		params.Continue = m.Continue
		if params.Continue == "" {
			return list, nil
		}
	}
}

// Create implements datastore.Store.
func (s *Store) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	key := datastore.KeyOf(object)
	if err := datastore.CheckWrite("create", kind, object, false); err != nil {
		return nil, err
	}
	object = object.DeepCopyObject().(datastore.Object)
	object.SetResourceVersion("")
	object.SetUID("")
	o, err := s.object(ctx, kind, s.client(kind).Post().
		NamespaceIfScoped(key.Namespace, kind.Namespaced).Resource(kind.Plural).
		VersionedParams(&metav1.CreateOptions{DryRun: s.dryRun, FieldValidation: metav1.FieldValidationStrict},
			metav1.ParameterCodec).
		Body(object))
	if err != nil {
		return nil, opError(ctx, "create", kind, key, err)
	}
	return o, nil
}

// Delete implements datastore.Store.
func (s *Store) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, pre datastore.Preconditions) error {
	options := metav1.DeleteOptions{DryRun: s.dryRun}
	if pre != (datastore.Preconditions{}) {
		options.Preconditions = &metav1.Preconditions{}
		if pre.UID != "" {
			options.Preconditions.UID = &pre.UID
		}
		if pre.Revision != "" {
			options.Preconditions.ResourceVersion = &pre.Revision
		}
	}
	err := s.client(kind).Delete().
		NamespaceIfScoped(key.Namespace, kind.Namespaced).Resource(kind.Plural).Name(key.Name).
		Body(&options).Do(ctx).Error()
	if err != nil {
		return opError(ctx, "delete", kind, key, err)
	}
	return nil
}

func (s *Store) client(kind datastore.Kind) rest.Interface { return s.clients[kind.GroupVersion()] }

// request returns a request for the objects of a kind, in the version in which they were last listed.
func (s *Store) request(kind datastore.Kind, opts datastore.ListOptions, params metav1.ListOptions) *rest.Request {
	r := s.client(kind).Get()
	if instead, ok := s.versions.Load(kind); ok {
		r = r.AbsPath("/apis", kind.Group, instead.(string))
	}
	return r.NamespaceIfScoped(opts.Namespace, kind.Namespaced && opts.Namespace != "").
		Resource(kind.Plural).VersionedParams(&params, metav1.ParameterCodec)
}

// object does a request whose answer is one object.
func (s *Store) object(ctx context.Context, kind datastore.Kind, r *rest.Request) (datastore.Object, error) {
	o, err := s.scheme.New(kind.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	answer := r.Do(ctx)
	if err := answer.Error(); err != nil {
		return nil, err
	}
	if err := answer.Into(o); err != nil {
		return nil, errUnusable(err)
	}
	return received(kind, o), nil
}

// received is an object in the form that callers get.
func received(kind datastore.Kind, o runtime.Object) datastore.Object {
	o.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	object := o.(datastore.Object)
	object.SetManagedFields(nil)
	return object
}
