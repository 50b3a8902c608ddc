// Package memory is a Store in the process's memory: the reference for what a Store
// does, and the datastore of tests.
//
// It owns its objects and their history and has no goroutine. Callers cannot tell it from
// the kubernetes backend but in two things: it applies neither the defaults nor the
// validation that the API server has in its schemas, and Create and Update take the
// status of Kubernetes kinds as given, so that a test makes a Pod with its addresses in one
// step. Any number of goroutines may use it.
package memory

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/lifecycle"
)

// Store implements datastore.Store. Make one by New.
type Store struct {
	historyLimit int

	mu sync.Mutex
	// objects are never modified once they are stored: events share them.
	objects map[datastore.Kind]map[datastore.Key]datastore.Object
	// revision is that of the newest record; it grows by one with each.
	revision uint64
	// history is contiguous and ends at revision.
	history []record
	// epoch counts disconnections; a watch of an older one has ended.
	epoch uint64
	// changed is closed and replaced whenever a watch has something to look at.
	changed chan struct{}
}

// record is one change. The revision follows from its place in the history.
type record struct {
	kind datastore.Kind
	// before and after are the object's states; nil where there is none. Both are nil
	// in a bookmark.
	before, after datastore.Object
}

var _ datastore.Store = (*Store)(nil)

// Option changes how a Store is made.
type Option func(*Store)

// WithHistory bounds the changes that the Store remembers, over all kinds. A watch that
// needs an older one ends with ErrExpired. Without it everything is kept.
func WithHistory(changes int) Option { return func(s *Store) { s.historyLimit = changes } }

// New makes an empty Store.
func New(options ...Option) *Store {
	s := &Store{
		historyLimit: -1,
		objects:      map[datastore.Kind]map[datastore.Key]datastore.Object{},
		revision:     1, // as in etcd, so that "0" is nobody's revision
		changed:      make(chan struct{}),
	}
	for _, option := range options {
		option(s)
	}
	return s
}

// Get implements datastore.Store.
func (s *Store) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (datastore.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, datastore.OpError("get", kind, key, nil, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[kind][key]
	if !ok {
		return nil, datastore.OpError("get", kind, key, datastore.ErrNotFound, nil)
	}
	return lifecycle.Clone(o), nil
}

// List implements datastore.Store. Items are sorted by namespace and name.
func (s *Store) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	if err := ctx.Err(); err != nil {
		return datastore.List{}, datastore.OpError("list", kind, datastore.Key{}, nil, err)
	}
	selects, err := lifecycle.Filter(kind, opts)
	if err != nil {
		return datastore.List{}, datastore.OpError("list", kind, datastore.Key{}, datastore.ErrInvalid, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := datastore.List{Revision: format(s.revision)}
	for _, key := range slices.SortedFunc(maps.Keys(s.objects[kind]), compareKeys) {
		if o := s.objects[kind][key]; selects(o) {
			list.Items = append(list.Items, lifecycle.Clone(o))
		}
	}
	return list, nil
}

// Create implements datastore.Store.
func (s *Store) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	key := datastore.KeyOf(object)
	if err := ctx.Err(); err != nil {
		return nil, datastore.OpError("create", kind, key, nil, err)
	}
	if err := datastore.CheckWrite("create", kind, object, false); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[kind][key]; ok {
		return nil, datastore.OpError("create", kind, key, datastore.ErrExists, nil)
	}
	change := lifecycle.Create(kind, object)
	s.put(kind, key, change)
	return lifecycle.Clone(change.After), nil
}

// Update implements datastore.Store.
func (s *Store) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	return s.update(ctx, "update", kind, object, lifecycle.Update)
}

// UpdateStatus implements datastore.Store.
func (s *Store) UpdateStatus(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object,
	error) {
	const operation = "update status of"
	if !kind.HasStatus {
		return nil, datastore.OpError(operation, kind, datastore.KeyOf(object), datastore.ErrInvalid,
			lifecycle.ErrNoStatus)
	}
	return s.update(ctx, operation, kind, object, lifecycle.UpdateStatus)
}

// update replaces an object by what decide makes of its state and of the caller's copy.
func (s *Store) update(ctx context.Context, operation string, kind datastore.Kind, object datastore.Object,
	decide func(kind datastore.Kind, before, object datastore.Object) (lifecycle.Change, error)) (datastore.Object,
	error) {
	key := datastore.KeyOf(object)
	if err := ctx.Err(); err != nil {
		return nil, datastore.OpError(operation, kind, key, nil, err)
	}
	if err := datastore.CheckWrite(operation, kind, object, true); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, ok := s.objects[kind][key]
	if !ok {
		return nil, datastore.OpError(operation, kind, key, datastore.ErrNotFound, nil)
	}
	change, err := decide(kind, before, object)
	if err != nil {
		return nil, datastore.OpError(operation, kind, key, datastore.ErrConflict, err)
	}
	s.put(kind, key, change)
	return lifecycle.Clone(change.After), nil
}

// Delete implements datastore.Store.
func (s *Store) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, pre datastore.Preconditions) error {
	if err := ctx.Err(); err != nil {
		return datastore.OpError("delete", kind, key, nil, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, ok := s.objects[kind][key]
	if !ok {
		return datastore.OpError("delete", kind, key, datastore.ErrNotFound, nil)
	}
	change, err := lifecycle.Delete(before, pre)
	if err != nil {
		return datastore.OpError("delete", kind, key, datastore.ErrConflict, err)
	}
	s.put(kind, key, change)
	return nil
}

// put records a change, if it is one, and gives the object its revision.
func (s *Store) put(kind datastore.Kind, key datastore.Key, change lifecycle.Change) {
	if change.None() {
		return
	}
	before, after := change.Before, change.After
	revision := format(s.revision + 1)
	if change.Gone {
		after = nil
		delete(s.objects[kind], key)
		before = lifecycle.Clone(before)
		before.SetResourceVersion(revision)
	} else {
		if s.objects[kind] == nil {
			s.objects[kind] = map[datastore.Key]datastore.Object{}
		}
		after.SetResourceVersion(revision)
		s.objects[kind][key] = after
	}
	s.record(record{kind: kind, before: before, after: after})
}

func (s *Store) record(r record) {
	s.revision++
	s.history = append(s.history, r)
	if excess := len(s.history) - s.historyLimit; s.historyLimit >= 0 && excess > 0 {
		s.history = slices.Delete(s.history, 0, excess)
	}
	s.wake()
}

func (s *Store) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func compareKeys(a, b datastore.Key) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func format(revision uint64) string { return strconv.FormatUint(revision, 10) }
