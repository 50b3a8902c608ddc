// Package events writes events for controllers that may see the same fact more than once: after a restart, as another
// leader, or because a queue repeats it. The name of an event follows from its content, so that an event is not written
// twice.
//
// The controllers that run on the leader call it, each on its own goroutine. It keeps no state.
package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Owner is the source of the events, and the field manager of what the controllers apply.
const Owner = "calico-kube-controllers"

// maxMessage is how long a message is, in octets, besides a few words of ours. API servers refuse more than 1024.
const maxMessage = 1000

// Short cuts a text that is too long for a message.
func Short(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "…"
}

// On returns an event on an object. Its name follows from the object, the reason and the message.
func On(o corev1.ObjectReference, kind, reason, message string) *corev1.Event {
	namespace := o.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where the API server has the events of what is in none
	}
	now := metav1.Now()
	sum := sha256.Sum256([]byte(string(o.UID) + "\n" + reason + "\n" + message))
	name := "." + hex.EncodeToString(sum[:8])
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace,
			Name: strings.TrimRight(o.Name[:min(len(o.Name), 253-len(name))], "-.") + name},
		InvolvedObject: o,
		Type:           kind, Reason: reason, Message: message, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: Owner}, ReportingController: Owner,
	}
}

// Writer writes events.
type Writer struct {
	Client client.Client
	Log    *slog.Logger
}

// Write makes an event. One that exists already happened once more, unless it is inherited: then it is the same.
func (w Writer) Write(ctx context.Context, event *corev1.Event, inherited bool) error {
	text, last := fmt.Sprintf("record event %s/%s", event.Namespace, event.Name), event.LastTimestamp
	err := w.Client.Create(ctx, event)
	switch {
	case apierrors.IsAlreadyExists(err) && inherited:
		return nil
	case apierrors.IsAlreadyExists(err):
		// The answer to the first tells how often it has happened.
		err = w.patch(ctx, event, map[string]any{"lastTimestamp": last})
		if err == nil {
			err = w.patch(ctx, event, map[string]any{"count": event.Count + 1})
		}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // the object goes, too
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	w.Log.Info("told of resource", "kind", event.InvolvedObject.Kind, "namespace", event.InvolvedObject.Namespace,
		"name", event.InvolvedObject.Name, "reason", event.Reason, "message", event.Message)
	return nil
}

func (w Writer) patch(ctx context.Context, event *corev1.Event, fields map[string]any) error {
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return w.Client.Patch(ctx, event, client.RawPatch(types.StrategicMergePatchType, body))
}
