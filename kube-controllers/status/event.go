package status

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/kube-controllers/events"
)

// ReasonUsable is the reason of the event that ends what one of ReasonUnusable said.
const ReasonUsable = "Usable"

// tell makes the event that a resource calls for.
func (r *resourceReconciler) tell(ctx context.Context, kind datastore.Kind, key resource) error {
	v, _ := r.picture.problem(key)
	last := r.told[key]
	if v.reason == last {
		return nil
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind.GroupVersionKind)
	err := r.client.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, object)
	if ignoreGone(err) != nil {
		return fmt.Errorf("read %s %s: %w", kind, client.ObjectKeyFromObject(object), err)
	}
	if err == nil {
		about := corev1.ObjectReference{APIVersion: object.APIVersion, Kind: object.Kind,
			Namespace: object.Namespace, Name: object.Name, UID: object.UID}
		event := events.On(about, corev1.EventTypeWarning, ReasonUnusable, events.Short(v.reason))
		if v.reason == "" {
			event = events.On(about, corev1.EventTypeNormal, ReasonUsable,
				"can be used again; what was wrong: "+events.Short(last))
		}
		writer := events.Writer{Client: r.client, Log: r.log}
		if err := writer.Write(ctx, event, v.inherited); err != nil {
			return err
		}
	}
	if v.reason == "" {
		delete(r.told, key)
	} else {
		r.told[key] = v.reason
	}
	return nil
}

// ignoreGone gives nil for the error that a resource, or all of its kind, is no more.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	return err
}
