package memory

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/maneki-net/maneki/datastore"
)

// keepsStatus says whether Create and Update take a kind's status as given. Those of the
// Kubernetes kinds do, so that a test makes a Pod with its addresses in one step.
func keepsStatus(kind datastore.Kind) bool {
	return !kind.HasStatus || kind.Group != "projectcalico.org"
}

type content = map[string]any

func contentOf(o datastore.Object) (content, error) {
	c, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("convert %T: %w", o, err)
	}
	return c, nil
}

// objectOf makes an object of example's type.
func objectOf(c content, example datastore.Object) (datastore.Object, error) {
	o := reflect.New(reflect.TypeOf(example).Elem()).Interface().(datastore.Object)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(c, o); err != nil {
		return nil, fmt.Errorf("convert %T: %w", o, err)
	}
	return o, nil
}

// withStatusOf gives a copy of object with the status of another, or with none.
func withStatusOf(object, other datastore.Object) (datastore.Object, error) {
	c, err := contentOf(object)
	if err != nil {
		return nil, err
	}
	delete(c, "status")
	if other != nil {
		from, err := contentOf(other)
		if err != nil {
			return nil, err
		}
		if status, ok := from["status"]; ok {
			c["status"] = status
		}
	}
	return objectOf(c, object)
}

// updated gives what an update makes of old: everything but status and identity, or
// status alone.
func updated(kind datastore.Kind, old, object datastore.Object, status bool) (datastore.Object, error) {
	result, err := copyOf(object), error(nil)
	switch {
	case status:
		result, err = withStatusOf(old, object)
	case !keepsStatus(kind):
		result, err = withStatusOf(object, old)
	}
	if err != nil {
		return nil, err
	}
	result.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	result.SetUID(old.GetUID())
	result.SetCreationTimestamp(old.GetCreationTimestamp())
	result.SetGeneration(old.GetGeneration())
	return result, nil
}

// changes says what an update changes: anything at all, and the spec.
func changes(old, updated datastore.Object) (any, spec bool, err error) {
	before, err := contentOf(old)
	if err != nil {
		return false, false, err
	}
	after, err := contentOf(updated)
	if err != nil {
		return false, false, err
	}
	return !equality.Semantic.DeepEqual(before, after), !equality.Semantic.DeepEqual(before["spec"], after["spec"]), nil
}
