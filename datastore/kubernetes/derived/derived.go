// Package derived adds to a Store the kinds that a cluster on Kubernetes does not store, derived as package derive
// says: WorkloadEndpoints, Nodes and Profiles of projectcalico.org/v3.
//
// They can be read, and Nodes also updated, which writes the annotations and labels of the Kubernetes Node. All other
// kinds go straight through. It owns no connection, and calicoctl calls it: what runs in the cluster reads Pods
// and Nodes themselves. Any number of goroutines may use a Store.
package derived

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/api/derive"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// Store implements datastore.Store. Make one by New.
type Store struct{ datastore.Store }

// New makes a Store over one with Kubernetes' own kinds.
func New(s datastore.Store) *Store { return &Store{s} }

// Get implements datastore.Store.
func (s *Store) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (datastore.Object, error) {
	switch kind {
	case datastore.CalicoNodes:
		return rename(kind, key, func() (datastore.Object, error) {
			node, err := datastore.Get[*corev1.Node](ctx, s.Store, datastore.Nodes, key)
			if err != nil {
				return nil, err
			}
			return derive.Node(node), nil
		})
	case datastore.WorkloadEndpoints:
		return rename(kind, key, func() (datastore.Object, error) { return s.endpoint(ctx, key) })
	case datastore.Profiles:
		return rename(kind, key, func() (datastore.Object, error) { return s.profile(ctx, key.Name) })
	}
	return s.Store.Get(ctx, kind, key)
}

// rename gives the error of a missing source the name of what was asked for.
func rename(kind datastore.Kind, key datastore.Key, get func() (datastore.Object, error)) (datastore.Object, error) {
	object, err := get()
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, datastore.OpError("get", kind, key, datastore.ErrNotFound, nil)
	}
	return object, err
}

func (s *Store) endpoint(ctx context.Context, key datastore.Key) (datastore.Object, error) {
	name, ok := derive.PodOf(key.Name)
	if !ok {
		return nil, datastore.ErrNotFound
	}
	pod, err := datastore.Get[*corev1.Pod](ctx, s.Store, datastore.Pods,
		datastore.Key{Namespace: key.Namespace, Name: name})
	if err != nil {
		return nil, err
	}
	if endpoint := derive.WorkloadEndpoint(pod); endpoint != nil && endpoint.Name == key.Name {
		return endpoint, nil
	}
	return nil, datastore.ErrNotFound
}

func (s *Store) profile(ctx context.Context, name string) (datastore.Object, error) {
	if name == derive.DefaultAllow {
		return derive.AllowProfile(), nil
	}
	namespace, account, ok := derive.ProfileOf(name)
	switch {
	case !ok:
		return nil, datastore.ErrNotFound
	case account == "":
		o, err := datastore.Get[*corev1.Namespace](ctx, s.Store, datastore.Namespaces, datastore.Key{Name: namespace})
		if err != nil {
			return nil, err
		}
		return derive.NamespaceProfile(o), nil
	}
	o, err := datastore.Get[*corev1.ServiceAccount](ctx, s.Store, datastore.ServiceAccounts,
		datastore.Key{Namespace: namespace, Name: account})
	if err != nil {
		return nil, err
	}
	return derive.ServiceAccountProfile(o), nil
}

// sources are the kinds that a kind is derived from.
var sources = map[datastore.Kind][]datastore.Kind{
	datastore.CalicoNodes:       {datastore.Nodes},
	datastore.WorkloadEndpoints: {datastore.Pods},
	datastore.Profiles:          {datastore.Namespaces, datastore.ServiceAccounts},
}

// of derives from an object of a source; nil when nothing follows from it.
func of(source datastore.Object) datastore.Object {
	switch o := source.(type) {
	case *corev1.Node:
		return derive.Node(o)
	case *corev1.Namespace:
		return derive.NamespaceProfile(o)
	case *corev1.ServiceAccount:
		return derive.ServiceAccountProfile(o)
	case *corev1.Pod:
		if endpoint := derive.WorkloadEndpoint(o); endpoint != nil {
			return endpoint
		}
	}
	return nil
}

// List implements datastore.Store. The Revision of Profiles is empty: they cannot be watched.
func (s *Store) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	from, ok := sources[kind]
	if !ok {
		return s.Store.List(ctx, kind, opts)
	}
	if err := checkField("list", kind, opts); err != nil {
		return datastore.List{}, err
	}
	var all datastore.List
	if kind == datastore.Profiles {
		all.Items = append(all.Items, derive.AllowProfile())
	}
	for _, source := range from {
		list, err := s.Store.List(ctx, source, opts)
		if err != nil {
			return datastore.List{}, fmt.Errorf("list %s: %w", kind, err)
		}
		all.Unusable = append(all.Unusable, list.Unusable...) // by the names of what they would follow from
		for _, item := range list.Items {
			if o := of(item); o != nil {
				all.Items = append(all.Items, o)
			}
		}
		if len(from) == 1 {
			all.Revision = list.Revision
		}
	}
	return all, nil
}

// Watch implements datastore.Store, but for Profiles. A pod that is scheduled during the watch is reported as Modified.
func (s *Store) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	from, ok := sources[kind]
	if !ok {
		return s.Store.Watch(ctx, kind, revision, opts)
	}
	if len(from) > 1 {
		return nil, datastore.OpError("watch", kind, datastore.Key{}, datastore.ErrInvalid,
			errors.New("profiles cannot be watched where Kubernetes is the datastore: watch namespaces and "+
				"serviceaccounts with kubectl"))
	}
	if err := checkField("watch", kind, opts); err != nil {
		return nil, err
	}
	w, err := s.Store.Watch(ctx, from[0], revision, opts)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind, err)
	}
	return watcher{w}, nil
}

// checkField refuses field selectors, since objects have other names than what they follow from; but not nodes.
func checkField(operation string, kind datastore.Kind, opts datastore.ListOptions) error {
	if opts.Field == "" || kind == datastore.CalicoNodes {
		return nil
	}
	return datastore.OpError(operation, kind, datastore.Key{}, datastore.ErrInvalid,
		fmt.Errorf("field label not supported: %s", opts.Field))
}

type watcher struct{ datastore.Watcher }

// Next implements datastore.Watcher.
func (w watcher) Next(ctx context.Context) (datastore.Event, error) {
	for {
		event, err := w.Watcher.Next(ctx)
		if err != nil || event.Object == nil {
			return event, err
		}
		if o := of(event.Object); o != nil {
			event.Object = o
			return event, nil
		}
	}
}

// Create implements datastore.Store.
func (s *Store) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	if sources[kind] == nil {
		return s.Store.Create(ctx, kind, object)
	}
	key := datastore.KeyOf(object)
	_, err := s.Get(ctx, kind, key)
	switch {
	case err == nil:
		return nil, datastore.OpError("create", kind, key, datastore.ErrExists, nil)
	case !errors.Is(err, datastore.ErrNotFound):
		return nil, err
	}
	return nil, refused("create", kind, key)
}

// Delete implements datastore.Store.
func (s *Store) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, pre datastore.Preconditions) error {
	if sources[kind] == nil {
		return s.Store.Delete(ctx, kind, key, pre)
	}
	if _, err := s.Get(ctx, kind, key); err != nil {
		return err
	}
	return refused("delete", kind, key)
}

// Update implements datastore.Store.
func (s *Store) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	if sources[kind] == nil {
		return s.Store.Update(ctx, kind, object)
	}
	key := datastore.KeyOf(object)
	if kind != datastore.CalicoNodes {
		return nil, refused("update", kind, key)
	}
	if err := datastore.CheckWrite("update", kind, object, true); err != nil {
		return nil, err
	}
	node, err := datastore.Get[*corev1.Node](ctx, s.Store, datastore.Nodes, key)
	if err != nil {
		return nil, err
	}
	node.ResourceVersion = object.GetResourceVersion()
	derive.ApplyNode(object.(*v3.Node), node)
	updated, err := s.Store.Update(ctx, datastore.Nodes, node)
	if err != nil {
		return nil, err
	}
	return derive.Node(updated.(*corev1.Node)), nil
}

// refused is the error of a write that has nowhere to go.
func refused(operation string, kind datastore.Kind, key datastore.Key) error {
	origin := map[datastore.Kind]string{
		datastore.CalicoNodes:       "the Nodes of Kubernetes",
		datastore.WorkloadEndpoints: "the Pods",
		datastore.Profiles:          "the Namespaces and ServiceAccounts",
	}[kind]
	return datastore.OpError(operation, kind, key, datastore.ErrInvalid,
		fmt.Errorf("where Kubernetes is the datastore it follows from %s: change those, with kubectl", origin))
}

// DryRun returns a Store whose writes are judged by the server and change nothing; nil if the server offers none.
func (s *Store) DryRun() datastore.Store {
	if server, ok := s.Store.(interface{ DryRun() datastore.Store }); ok {
		return New(server.DryRun())
	}
	return nil
}
