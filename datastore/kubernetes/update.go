package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// Update implements datastore.Store. Of Kubernetes' own kinds it sends only what differs
// from the current state, so that fields which our version of the types does not know stay.
func (s *Store) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	return s.update(ctx, "update", kind, object, "")
}

// UpdateStatus implements datastore.Store.
func (s *Store) UpdateStatus(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object,
	error) {
	const operation = "update status of"
	if !kind.HasStatus {
		return nil, datastore.OpError(operation, kind, datastore.KeyOf(object), datastore.ErrInvalid,
			errors.New("the kind has no status"))
	}
	return s.update(ctx, operation, kind, object, "status")
}

func (s *Store) update(ctx context.Context, operation string, kind datastore.Kind, object datastore.Object,
	subresource string) (datastore.Object, error) {
	key := datastore.KeyOf(object)
	if err := datastore.CheckWrite(operation, kind, object, true); err != nil {
		return nil, err
	}
	write := s.put
	if s.merge || kind.GroupVersion() != v3.GroupVersion {
		write = s.patch
	}
	o, err := write(ctx, kind, object, subresource)
	if err != nil {
		return nil, opError(ctx, operation, kind, key, err)
	}
	return o, nil
}

func (s *Store) put(ctx context.Context, kind datastore.Kind, object datastore.Object,
	subresource string) (datastore.Object, error) {
	r := s.client(kind).Put().
		NamespaceIfScoped(object.GetNamespace(), kind.Namespaced).Resource(kind.Plural).Name(object.GetName()).
		VersionedParams(&metav1.UpdateOptions{DryRun: s.dryRun, FieldValidation: metav1.FieldValidationStrict},
			metav1.ParameterCodec)
	if subresource != "" {
		r = r.SubResource(subresource)
	}
	return s.object(ctx, kind, r.Body(object))
}

// patch writes by a JSON merge patch (RFC 7386), with the revision as precondition.
func (s *Store) patch(ctx context.Context, kind datastore.Kind, object datastore.Object,
	subresource string) (datastore.Object, error) {
	current, err := s.Get(ctx, kind, datastore.KeyOf(object))
	if err != nil {
		return nil, err
	}
	if current.GetResourceVersion() != object.GetResourceVersion() {
		return nil, fmt.Errorf("%w: the object is at revision %s, not %s", datastore.ErrConflict,
			current.GetResourceVersion(), object.GetResourceVersion())
	}
	patch, err := difference(current, object, subresource)
	if err != nil {
		return nil, err
	}
	if len(patch) == 0 {
		return current, nil
	}
	metadata, ok := patch["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		patch["metadata"] = metadata
	}
	metadata["resourceVersion"] = object.GetResourceVersion()
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	r := s.client(kind).Patch(types.MergePatchType).
		NamespaceIfScoped(object.GetNamespace(), kind.Namespaced).Resource(kind.Plural).Name(object.GetName()).
		VersionedParams(&metav1.PatchOptions{DryRun: s.dryRun, FieldValidation: metav1.FieldValidationStrict},
			metav1.ParameterCodec)
	if subresource != "" {
		r = r.SubResource(subresource)
	}
	return s.object(ctx, kind, r.Body(body))
}

// difference is the merge patch from one state to another: of the status if that is the
// subresource, else of the rest.
func difference(from, to datastore.Object, subresource string) (map[string]any, error) {
	var content [2]map[string]any
	for i, o := range []datastore.Object{from, to} {
		o = o.DeepCopyObject().(datastore.Object)
		o.SetManagedFields(nil)
		var err error
		content[i], err = runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("convert %s to JSON: %w", datastore.KeyOf(o), err)
		}
		if subresource == "status" {
			content[i] = map[string]any{"status": content[i]["status"]}
		} else {
			delete(content[i], "status")
			delete(content[i], "apiVersion")
			delete(content[i], "kind")
		}
	}
	return mergePatch(content[0], content[1]), nil
}

// mergePatch is what to merge into one JSON object to have the other: null removes a
// member, and arrays are replaced as a whole.
func mergePatch(from, to map[string]any) map[string]any {
	patch := map[string]any{}
	for name := range from {
		if _, ok := to[name]; !ok {
			patch[name] = nil
		}
	}
	for name, value := range to {
		old, had := from[name]
		oldObject, wasObject := old.(map[string]any)
		object, isObject := value.(map[string]any)
		switch {
		case wasObject && isObject:
			if inner := mergePatch(oldObject, object); len(inner) > 0 {
				patch[name] = inner
			}
		case !had || !reflect.DeepEqual(old, value):
			patch[name] = value
		}
	}
	return patch
}
