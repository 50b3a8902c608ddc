package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/lifecycle"
)

// checkWrite says what is wrong with the form of a write, and otherwise gives its key in etcd.
func checkWrite(operation string, kind datastore.Kind, object datastore.Object, update bool) (string, error) {
	key := datastore.KeyOf(object)
	if err := stored(kind); err != nil {
		return "", datastore.OpError(operation, kind, key, datastore.ErrInvalid, err)
	}
	if err := datastore.CheckWrite(operation, kind, object, update); err != nil {
		return "", err
	}
	path, ok := pathOf(kind, key)
	if !ok {
		return "", datastore.OpError(operation, kind, key, datastore.ErrInvalid,
			errors.New("metadata: the name and the namespace must not contain /"))
	}
	return path, nil
}

// Create implements datastore.Store.
func (s *Store) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	const operation = "create"
	path, err := checkWrite(operation, kind, object, false)
	if err != nil {
		return nil, err
	}
	change, key := lifecycle.Create(kind, object), datastore.KeyOf(object)
	written, err := s.commit(ctx, path, 0, change)
	switch {
	case err != nil:
		return nil, s.opError(ctx, operation, kind, key, err)
	case !written:
		return nil, datastore.OpError(operation, kind, key, datastore.ErrExists, nil)
	}
	return change.After, nil
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

// errChanged is the cause of a conflict that etcd found.
var errChanged = errors.New("the object changed at the same time")

func (s *Store) update(ctx context.Context, operation string, kind datastore.Kind, object datastore.Object,
	decide func(kind datastore.Kind, before, object datastore.Object) (lifecycle.Change, error)) (datastore.Object,
	error) {
	path, err := checkWrite(operation, kind, object, true)
	if err != nil {
		return nil, err
	}
	key := datastore.KeyOf(object)
	kv, err := s.read(ctx, path)
	switch {
	case err != nil:
		return nil, s.opError(ctx, operation, kind, key, err)
	case kv == nil:
		return nil, datastore.OpError(operation, kind, key, datastore.ErrNotFound, nil)
	}
	before, err := decode(kind, kv)
	if err != nil {
		return nil, datastore.OpError(operation, kind, key, nil, err)
	}
	change, err := decide(kind, before, object)
	if err != nil {
		return nil, datastore.OpError(operation, kind, key, datastore.ErrConflict, err)
	}
	written, err := s.commit(ctx, path, kv.ModRevision, change)
	switch {
	case err != nil:
		return nil, s.opError(ctx, operation, kind, key, err)
	case !written:
		return nil, datastore.OpError(operation, kind, key, datastore.ErrConflict, errChanged)
	}
	return change.After, nil
}

// Delete implements datastore.Store. What is changed at the same time is read again, unless the preconditions name
// a revision.
func (s *Store) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, pre datastore.Preconditions) error {
	const operation = "delete"
	if err := stored(kind); err != nil {
		return datastore.OpError(operation, kind, key, datastore.ErrInvalid, err)
	}
	path, ok := pathOf(kind, key)
	if !ok {
		return datastore.OpError(operation, kind, key, datastore.ErrNotFound, nil)
	}
	for {
		kv, err := s.read(ctx, path)
		switch {
		case err != nil:
			return s.opError(ctx, operation, kind, key, err)
		case kv == nil:
			return datastore.OpError(operation, kind, key, datastore.ErrNotFound, nil)
		}
		change, err := deletion(kind, kv, pre)
		if err != nil {
			return datastore.OpError(operation, kind, key, datastore.ErrConflict, err)
		}
		written, err := s.commit(ctx, path, kv.ModRevision, change)
		switch {
		case err != nil:
			return s.opError(ctx, operation, kind, key, err)
		case written:
			return nil
		}
	}
}

// deletion removes or marks what is stored. Of unusable content nothing is asked but the revision.
func deletion(kind datastore.Kind, kv *mvccpb.KeyValue, pre datastore.Preconditions) (lifecycle.Change, error) {
	before, err := decode(kind, kv)
	if err != nil && pre.UID != "" {
		return lifecycle.Change{}, err
	}
	return lifecycle.Delete(before, pre)
}

// commit writes a change if the key is still at a revision, and says whether it was. The new state gets its revision.
func (s *Store) commit(ctx context.Context, path string, at int64, change lifecycle.Change) (bool, error) {
	if change.None() {
		return true, nil
	}
	write := clientv3.OpDelete(path)
	if !change.Gone {
		body, err := encode(change.After)
		if err != nil {
			return false, err
		}
		write = clientv3.OpPut(path, body)
	}
	revision, err := s.swap(ctx, path, at, write)
	if err != nil || revision == 0 {
		return false, err
	}
	change.After.SetResourceVersion(format(revision))
	return true, nil
}
