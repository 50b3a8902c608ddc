package datastore

import (
	"errors"
	"fmt"
)

// Sentinel errors. Backends wrap them with the operation, the object and the cause,
// so test with errors.Is.
var (
	// ErrNotFound: the object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: Create of a name that is taken.
	ErrExists = errors.New("already exists")
	// ErrConflict: the object changed since the caller read it; read again and retry.
	ErrConflict = errors.New("conflict")
	// ErrExpired: the revision to list or watch from is no longer kept; list again.
	ErrExpired = errors.New("revision expired")
	// ErrInvalid: the datastore refused the object's content. The cause says what to
	// write instead.
	ErrInvalid = errors.New("invalid")
	// ErrUnusable: what is stored under the name cannot be decoded. It can be deleted.
	ErrUnusable = errors.New("stored object is unusable")
	// ErrUnavailable: the datastore could not be reached; retrying later may succeed.
	ErrUnavailable = errors.New("datastore unavailable")
	// ErrNoKind: the datastore does not know the kind, or not yet; it is an ErrUnavailable.
	ErrNoKind = fmt.Errorf("%w: unknown kind", ErrUnavailable)
)

// OpError makes the error of an operation on one object, or with the zero key on a
// kind. The sentinel may be nil, when no caller could decide on it; the cause may be nil.
func OpError(operation string, kind Kind, key Key, sentinel, cause error) error {
	object := kind.String()
	if key != (Key{}) {
		object += " " + key.String()
	}
	switch {
	case sentinel == nil:
		return fmt.Errorf("%s %s: %w", operation, object, cause)
	case cause == nil:
		return fmt.Errorf("%s %s: %w", operation, object, sentinel)
	}
	return fmt.Errorf("%s %s: %w: %w", operation, object, sentinel, cause)
}

// CheckWrite says what is wrong with the form of a write, whatever the object's content: an
// object of another kind, without a name, or in a namespace where its kind has none (or the
// reverse), and for an update one without the revision as read. Backends call it first; the
// error wraps ErrInvalid.
func CheckWrite(operation string, kind Kind, object Object, update bool) error {
	key := KeyOf(object)
	fail := func(format string, args ...any) error {
		return OpError(operation, kind, key, ErrInvalid, fmt.Errorf(format, args...))
	}
	actual, err := KindOf(object)
	switch {
	case err != nil:
		return fail("%w", err)
	case actual != kind:
		return fail("the object is of kind %s", actual)
	case key.Name == "":
		return fail("metadata.name: must be set")
	case kind.Namespaced && key.Namespace == "":
		return fail("metadata.namespace: must be set")
	case !kind.Namespaced && key.Namespace != "":
		return fail("metadata.namespace: must be empty, the kind is cluster-scoped")
	case update && object.GetResourceVersion() == "":
		return fail("metadata.resourceVersion: must be as it was read")
	}
	return nil
}
