// Package memory is a Store that keeps everything in the process: for tests, and as the
// reference for what the other backends must do.
//
// It owns its objects; what goes in and out is copied. It has no goroutine; any number of goroutines may
// call it.
package memory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/maneki-net/maneki/datastore"
)

// Store implements datastore.Store. Use New.
type Store struct {
	mu sync.Mutex
	// objects by kind and key; each is private to the store.
	objects map[datastore.Kind]map[datastore.Key]datastore.Object
	// revision of the last change; 0 before the first.
	revision uint64
	// history are the changes with compacted < revision <= s.revision, in order.
	history   []change
	compacted uint64
	// wake is closed and replaced at each change.
	wake chan struct{}
}

type change struct {
	kind     datastore.Kind
	event    datastore.EventType
	object   datastore.Object
	previous datastore.Object // nil for Added
	revision uint64
}

var _ datastore.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{objects: map[datastore.Kind]map[datastore.Key]datastore.Object{}, wake: make(chan struct{})}
}

// Compact forgets the changes up to now: a watch from an older revision ends with ErrExpired.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history, s.compacted = nil, s.revision
	s.wakeAll()
}

func copyOf(o datastore.Object) datastore.Object { return o.DeepCopyObject().(datastore.Object) }

// Get implements datastore.Store.
func (s *Store) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (datastore.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get %s %s: %w", kind, key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[kind][key]
	if !ok {
		return nil, fmt.Errorf("get %s %s: %w", kind, key, datastore.ErrNotFound)
	}
	return copyOf(o), nil
}

// List implements datastore.Store; items are ordered by key.
func (s *Store) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	if err := ctx.Err(); err != nil {
		return datastore.List{}, fmt.Errorf("list %s: %w", kind.Plural, err)
	}
	match, err := matcher(kind, opts)
	if err != nil {
		return datastore.List{}, fmt.Errorf("list %s: %w", kind.Plural, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := datastore.List{Revision: formatRevision(s.revision)}
	for _, o := range s.objects[kind] {
		if match(o) {
			list.Items = append(list.Items, copyOf(o))
		}
	}
	slices.SortFunc(list.Items, func(a, b datastore.Object) int {
		return strings.Compare(datastore.KeyOf(a).String(), datastore.KeyOf(b).String())
	})
	return list, nil
}

// Create implements datastore.Store.
func (s *Store) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	key := datastore.KeyOf(object)
	fail := func(err error) (datastore.Object, error) {
		return nil, fmt.Errorf("create %s %s: %w", kind, key, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if err := checkKey(kind, key); err != nil {
		return fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.objects[kind][key]; taken {
		return fail(datastore.ErrExists)
	}
	o := copyOf(object)
	if !keepsStatus(kind) {
		var err error
		if o, err = withStatusOf(object, nil); err != nil {
			return fail(err)
		}
	}
	o.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	o.SetGeneration(1)
	s.commit(kind, datastore.Added, o, nil)
	return copyOf(o), nil
}

// Update implements datastore.Store.
func (s *Store) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	return s.update(ctx, kind, object, false)
}

// UpdateStatus implements datastore.Store.
func (s *Store) UpdateStatus(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	if !kind.HasStatus {
		return nil, fmt.Errorf("update status of %s %s: %w: the kind has no status", kind, datastore.KeyOf(object), datastore.ErrInvalid)
	}
	return s.update(ctx, kind, object, true)
}

func (s *Store) update(ctx context.Context, kind datastore.Kind, object datastore.Object, status bool) (datastore.Object, error) {
	key := datastore.KeyOf(object)
	fail := func(err error) (datastore.Object, error) {
		return nil, fmt.Errorf("update %s %s: %w", kind, key, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if object.GetResourceVersion() == "" {
		return fail(fmt.Errorf("%w: metadata.resourceVersion is empty: update what was read", datastore.ErrInvalid))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.objects[kind][key]
	if !ok {
		return fail(datastore.ErrNotFound)
	}
	if old.GetResourceVersion() != object.GetResourceVersion() {
		return fail(datastore.ErrConflict)
	}
	o, err := updated(kind, old, object, status)
	if err != nil {
		return fail(err)
	}
	anything, spec, err := changes(old, o)
	if err != nil {
		return fail(err)
	}
	if !anything {
		return copyOf(old), nil // as the API server: an update that changes nothing makes no revision
	}
	if spec {
		o.SetGeneration(old.GetGeneration() + 1)
	}
	s.commit(kind, datastore.Modified, o, old)
	return copyOf(o), nil
}

// Delete implements datastore.Store.
func (s *Store) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, pre datastore.Preconditions) error {
	fail := func(err error) error { return fmt.Errorf("delete %s %s: %w", kind, key, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.objects[kind][key]
	if !ok {
		return fail(datastore.ErrNotFound)
	}
	if pre.UID != types.UID("") && pre.UID != old.GetUID() || pre.Revision != "" && pre.Revision != old.GetResourceVersion() {
		return fail(datastore.ErrConflict)
	}
	s.commit(kind, datastore.Deleted, copyOf(old), old)
	return nil
}

// commit records a change; s.mu is held and object is owned by the store from here on.
func (s *Store) commit(kind datastore.Kind, event datastore.EventType, object, previous datastore.Object) {
	s.revision++
	object.SetResourceVersion(formatRevision(s.revision))
	if event == datastore.Deleted {
		delete(s.objects[kind], datastore.KeyOf(object))
	} else {
		if s.objects[kind] == nil {
			s.objects[kind] = map[datastore.Key]datastore.Object{}
		}
		s.objects[kind][datastore.KeyOf(object)] = object
	}
	s.history = append(s.history, change{kind, event, object, previous, s.revision})
	s.wakeAll()
}

func (s *Store) wakeAll() {
	close(s.wake)
	s.wake = make(chan struct{})
}

func formatRevision(r uint64) string { return strconv.FormatUint(r, 10) }

func checkKey(kind datastore.Kind, key datastore.Key) error {
	switch {
	case key.Name == "":
		return fmt.Errorf("%w: metadata.name is empty", datastore.ErrInvalid)
	case kind.Namespaced && key.Namespace == "":
		return fmt.Errorf("%w: metadata.namespace is empty, and the kind is namespaced", datastore.ErrInvalid)
	case !kind.Namespaced && key.Namespace != "":
		return fmt.Errorf("%w: metadata.namespace is %q, and the kind is cluster-scoped", datastore.ErrInvalid, key.Namespace)
	}
	return nil
}

// matcher gives the test for the objects that options select.
func matcher(kind datastore.Kind, opts datastore.ListOptions) (func(datastore.Object) bool, error) {
	selector, err := fields.ParseSelector(opts.Field)
	if err != nil {
		return nil, fmt.Errorf("%w: field selector %q: %w", datastore.ErrInvalid, opts.Field, err)
	}
	for _, r := range selector.Requirements() {
		if r.Field != "metadata.name" && r.Field != "metadata.namespace" && (r.Field != "spec.nodeName" || kind != datastore.Pods) {
			return nil, fmt.Errorf("%w: field selector %q is not supported for %s", datastore.ErrInvalid, r.Field, kind.Plural)
		}
	}
	return func(o datastore.Object) bool {
		if opts.Namespace != "" && o.GetNamespace() != opts.Namespace {
			return false
		}
		set := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
		if pod, ok := o.(*corev1.Pod); ok {
			set["spec.nodeName"] = pod.Spec.NodeName
		}
		return selector.Matches(set)
	}, nil
}
