package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maneki-net/maneki/datastore"
)

// ReasonUsable is the reason of the event that ends what one of ReasonUnusable said.
const ReasonUsable = "Usable"

// tell makes the event that a resource calls for.
func (r *resourceReconciler) tell(ctx context.Context, kind datastore.Kind, key resource) error {
	v, _ := r.picture.verdict(key)
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
		event := eventOn(object, corev1.EventTypeWarning, ReasonUnusable, short(v.reason))
		if v.reason == "" {
			event = eventOn(object, corev1.EventTypeNormal, ReasonUsable, "can be used again; what was wrong: "+short(last))
		}
		if err := r.record(ctx, event, v.inherited); err != nil {
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

// eventOn returns an event whose name follows from what it says, so that whoever says the same again finds it.
func eventOn(o *metav1.PartialObjectMetadata, kind, reason, message string) *corev1.Event {
	namespace := o.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where the API server has the events of what is in none
	}
	now := metav1.Now()
	sum := sha256.Sum256([]byte(string(o.UID) + "\n" + reason + "\n" + message))
	name := "." + hex.EncodeToString(sum[:8])
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: strings.TrimRight(o.Name[:min(len(o.Name), 253-len(name))], "-.") + name},
		InvolvedObject: corev1.ObjectReference{APIVersion: o.APIVersion, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, UID: o.UID},
		Type:           kind, Reason: reason, Message: message, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: owner}, ReportingController: owner,
	}
}

// record makes an event. One that is there already happened once more, unless it is inherited: then it is the same.
func (r *resourceReconciler) record(ctx context.Context, event *corev1.Event, inherited bool) error {
	text, last := fmt.Sprintf("record event %s/%s", event.Namespace, event.Name), event.LastTimestamp
	err := r.client.Create(ctx, event)
	switch {
	case apierrors.IsAlreadyExists(err) && inherited:
		return nil
	case apierrors.IsAlreadyExists(err):
		// The answer to the first tells how often it has happened.
		if err = r.patch(ctx, event, map[string]any{"lastTimestamp": last}); err == nil {
			err = r.patch(ctx, event, map[string]any{"count": event.Count + 1})
		}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // the resource goes, too
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	r.log.Info("told of resource", "kind", event.InvolvedObject.Kind, "namespace", event.InvolvedObject.Namespace,
		"name", event.InvolvedObject.Name, "reason", event.Reason, "message", event.Message)
	return nil
}

func (r *resourceReconciler) patch(ctx context.Context, event *corev1.Event, fields map[string]any) error {
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return r.client.Patch(ctx, event, client.RawPatch(types.StrategicMergePatchType, body))
}

// ignoreGone gives nil for the error that a resource, or all of its kind, is no more.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	return err
}
