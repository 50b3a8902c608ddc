package lifecycle

import (
	"errors"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// Clone is a deep copy.
func Clone(o datastore.Object) datastore.Object {
	return o.DeepCopyObject().(datastore.Object)
}

// normal copies a caller's object into the form in which objects are kept.
func normal(kind datastore.Kind, o datastore.Object) datastore.Object {
	o = Clone(o)
	o.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	o.SetManagedFields(nil)
	return o
}

// statusApart reports whether Create and Update leave a kind's status alone.
func statusApart(kind datastore.Kind) bool {
	return kind.HasStatus && kind.GroupVersion() == v3.GroupVersion
}

// part is a field of every resource's struct. Resources without it have an invalid one.
func part(o datastore.Object, name string) reflect.Value {
	return reflect.ValueOf(o).Elem().FieldByName(name)
}

func clearStatus(o datastore.Object) { part(o, "Status").SetZero() }

// copyStatus shares the status with from, which must be a copy or not be modified.
func copyStatus(to, from datastore.Object) { part(to, "Status").Set(part(from, "Status")) }

// equal compares all but the revision, which follows from the rest.
func equal(a, b datastore.Object) bool {
	b = Clone(b)
	b.SetResourceVersion(a.GetResourceVersion())
	return equality.Semantic.DeepEqual(a, b)
}

// equalButMeta compares what a generation counts: neither metadata nor status.
func equalButMeta(a, b datastore.Object) bool {
	a, b = Clone(a), Clone(b)
	for _, o := range []datastore.Object{a, b} {
		part(o, "ObjectMeta").Set(reflect.ValueOf(metav1.ObjectMeta{}))
		if status := part(o, "Status"); status.IsValid() {
			status.SetZero()
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}

// Filter compiles list options into a predicate.
func Filter(kind datastore.Kind, opts datastore.ListOptions) (func(datastore.Object) bool, error) {
	if opts.Namespace != "" && !kind.Namespaced {
		return nil, errors.New("a namespace is given for a cluster-scoped kind")
	}
	selector, err := fields.ParseSelector(opts.Field)
	if err != nil {
		return nil, err
	}
	for _, r := range selector.Requirements() {
		switch {
		case r.Field == "metadata.name":
		case r.Field == "metadata.namespace" && kind.Namespaced:
		case r.Field == "spec.nodeName" && kind == datastore.Pods:
		default:
			return nil, fmt.Errorf("field label not supported: %s", r.Field)
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
