// Package datastore defines the Store, through which every component reads and writes
// resources, and the errors and events that all of its backends share.
//
// It owns no connection and no goroutine; the backends (memory, kubernetes) do. It
// knows nothing of what resources mean. A Store is safe for concurrent use.
package datastore

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Object is any resource: ours from api/v3, or a Kubernetes one that we read.
type Object interface {
	metav1.Object
	runtime.Object
}

// Key names one object of a Kind. Namespace is empty for cluster-scoped kinds.
type Key struct {
	Namespace string
	Name      string
}

// String returns namespace/name, or the name alone.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// KeyOf returns the key of an object.
func KeyOf(o metav1.Object) Key {
	return Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// List is the state of a kind at one revision.
type List struct {
	// Items are owned by the caller.
	Items []Object
	// Unusable are objects that are stored, but not in a form that can be decoded. They are not among
	// the Items.
	Unusable []Unusable
	// Revision is where a Watch continues without missing or repeating a change.
	Revision string
}

// Unusable is an object whose stored content cannot be decoded. Readers take it for missing, and say so. Objects that
// deny something are not among them: package repair says what becomes of these.
type Unusable struct {
	Key Key
	Err error
}

// ListOptions narrow a List or a Watch. The zero value is everything, at the newest revision.
type ListOptions struct {
	// Namespace restricts a namespaced kind to one namespace.
	Namespace string
	// Field selects by a field, in Kubernetes field-selector syntax, for example
	// "spec.nodeName=n1". Backends support what the API server supports for the kind; the
	// memory backend supports metadata.name, metadata.namespace and a Pod's spec.nodeName.
	Field string
	// PageSize bounds the objects of one request to the backend; 0 is the backend's
	// default. The result is complete in any case.
	PageSize int64
}

// EventType says what happened to an object.
type EventType uint8

// The event types. A Bookmark carries no object, only a newer Revision.
const (
	Added EventType = iota + 1
	Modified
	Deleted
	Bookmark
)

// Event is one change. Object is the state after the change, or for Deleted the last
// state known; it must not be modified by the receiver.
type Event struct {
	Type     EventType
	Object   Object
	Revision string
	// Err says of a Deleted object that it is still stored, but not in a form that can be decoded (see
	// List.Unusable). The Object has a name, and more only if the state before is known.
	Err error
}

// Watcher delivers the changes of one kind in order.
type Watcher interface {
	// Next blocks for the next event. It ends with ctx's error, ErrExpired when the
	// reader must list again, or ErrUnavailable when the connection was lost and the watch may be
	// started again at the last revision seen.
	Next(ctx context.Context) (Event, error)
	// Stop releases the watch; Next then returns an error. It may be called twice.
	Stop()
}

// Preconditions restrict a Delete. Empty fields do not restrict.
type Preconditions struct {
	UID      types.UID
	Revision string
}

// Store is the one interface to resources.
//
// Get, List and the results of writes belong to the caller and may be modified; they
// carry their apiVersion and kind, and no managedFields. Create ignores resourceVersion
// and UID, and the status of our kinds. Update needs metadata.resourceVersion as read and fails
// with ErrConflict if it is not current; for kinds with a status subresource, Update leaves
// status alone and UpdateStatus writes nothing else. A write that changes nothing succeeds
// and makes no event. An object with finalizers is deleted when the last of them is gone:
// until then Delete sets its deletionTimestamp.
//
// List and Watch decode each object by itself. List of an Optional kind returns an empty
// list if it is certain that the kind does not exist, with the revision of that. Every
// other call for a kind that does not exist fails with ErrNoKind.
//
// Watch needs a revision. Its context bounds the start alone; Stop ends it. It reports an
// object that a field selector begins to select as Added, and one that it no longer
// selects as Deleted.
type Store interface {
	Get(ctx context.Context, kind Kind, key Key) (Object, error)
	List(ctx context.Context, kind Kind, opts ListOptions) (List, error)
	Watch(ctx context.Context, kind Kind, revision string, opts ListOptions) (Watcher, error)
	Create(ctx context.Context, kind Kind, object Object) (Object, error)
	Update(ctx context.Context, kind Kind, object Object) (Object, error)
	UpdateStatus(ctx context.Context, kind Kind, object Object) (Object, error)
	Delete(ctx context.Context, kind Kind, key Key, pre Preconditions) error
}
