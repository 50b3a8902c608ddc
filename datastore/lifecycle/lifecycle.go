// Package lifecycle says what a write makes of an object, for the backends that have no API server to say it: the
// metadata that a store sets, status apart from the rest, finalizers, generations, writes that change nothing.
//
// It is pure: no state, no I/O, no clock but the time of day in timestamps. The backends memory and etcd call it, on
// any goroutine. Revisions are the backend's.
package lifecycle

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/maneki-net/maneki/datastore"
)

// Change is what a write comes to.
type Change struct {
	// Before is nil for a new object. After is what the writer is told; the same value as Before if nothing changes.
	Before, After datastore.Object
	// Gone says that nothing stays; After is the last state then.
	Gone bool
}

// None reports whether there is nothing to write.
func (c Change) None() bool { return !c.Gone && c.Before == c.After }

// Create makes the first state of an object from a caller's.
func Create(kind datastore.Kind, object datastore.Object) Change {
	o := normal(kind, object)
	o.SetResourceVersion("")
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(timestamp())
	o.SetDeletionTimestamp(nil)
	o.SetGeneration(1)
	if statusApart(kind) {
		clearStatus(o)
	}
	return Change{After: o}
}

// Update puts a caller's object in the place of the current state. Its error is the cause of a conflict.
func Update(kind datastore.Kind, before, object datastore.Object) (Change, error) {
	return update(kind, before, object, func(after datastore.Object) datastore.Object {
		after.SetUID(before.GetUID())
		after.SetCreationTimestamp(before.GetCreationTimestamp())
		after.SetDeletionTimestamp(before.GetDeletionTimestamp())
		after.SetDeletionGracePeriodSeconds(before.GetDeletionGracePeriodSeconds())
		after.SetGeneration(before.GetGeneration())
		if statusApart(kind) {
			copyStatus(after, before)
		}
		if !equalButMeta(before, after) {
			after.SetGeneration(before.GetGeneration() + 1)
		}
		return after
	})
}

// UpdateStatus puts the status of a caller's object in the place of the current one. Its error is the cause of a
// conflict.
func UpdateStatus(kind datastore.Kind, before, object datastore.Object) (Change, error) {
	return update(kind, before, object, func(after datastore.Object) datastore.Object {
		merged := Clone(before)
		copyStatus(merged, after)
		return merged
	})
}

// ErrNoStatus is the cause that refuses an UpdateStatus of a kind without one.
var ErrNoStatus = errors.New("the kind has no status")

func update(kind datastore.Kind, before, object datastore.Object,
	merge func(datastore.Object) datastore.Object) (Change, error) {
	if err := check(before, datastore.Preconditions{UID: object.GetUID(),
		Revision: object.GetResourceVersion()}); err != nil {
		return Change{}, err
	}
	after := merge(normal(kind, object))
	switch {
	case after.GetDeletionTimestamp() != nil && len(after.GetFinalizers()) == 0:
		return Change{Before: before, After: after, Gone: true}, nil
	case equal(before, after):
		after = before
	}
	return Change{Before: before, After: after}, nil
}

// Delete removes an object, or marks it if finalizers hold it. Its error is the cause of a conflict.
func Delete(before datastore.Object, pre datastore.Preconditions) (Change, error) {
	if err := check(before, pre); err != nil {
		return Change{}, err
	}
	switch {
	case len(before.GetFinalizers()) == 0:
		return Change{Before: before, After: before, Gone: true}, nil
	case before.GetDeletionTimestamp() != nil:
		return Change{Before: before, After: before}, nil
	}
	after := Clone(before)
	now := timestamp()
	after.SetDeletionTimestamp(&now)
	after.SetGeneration(before.GetGeneration() + 1)
	return Change{Before: before, After: after}, nil
}

// timestamp has the precision of the wire format.
func timestamp() metav1.Time { return metav1.Now().Rfc3339Copy() }

// check says in what an object differs from preconditions.
func check(o datastore.Object, pre datastore.Preconditions) error {
	if pre.UID != "" && pre.UID != o.GetUID() {
		return fmt.Errorf("the object has uid %s, not %s", o.GetUID(), pre.UID)
	}
	if pre.Revision != "" && pre.Revision != o.GetResourceVersion() {
		return fmt.Errorf("the object is at revision %s, not %s", o.GetResourceVersion(), pre.Revision)
	}
	return nil
}
