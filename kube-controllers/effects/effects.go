// Package effects writes an event on each object that sets something without effect, and another when that is gone.
// Package api/effects decides what has no effect, from the object alone. So every leader decides the same, and does not
// repeat the events of an earlier leader. The resources of projectcalico.org/v3 are read one after the other and not
// stored. Of Pods, Nodes, Namespaces and Services the informers of the manager store, for this purpose, only the
// annotations and labels without effect.
//
// It runs on the leader: the goroutines of typha/sync and of the informers look at the objects, and one
// controller-runtime worker writes.
package effects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/maneki-net/maneki/api/effects"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/kube-controllers/events"
	typhasync "github.com/maneki-net/maneki/typha/sync"
)

// Options configure the controller.
type Options struct {
	// Store is where the resources of projectcalico.org/v3 are.
	Store datastore.Store
	Log   *slog.Logger
}

// Reasons of the events. The first two are warnings: of what has no effect, and of what asks for protection that is not
// there. The last says that an object has no such thing any more.
const (
	ReasonNoEffect    = "NoEffect"
	ReasonUnprotected = "Unprotected"
	ReasonEffective   = "Effective"
)

// How many events are written in one second at most, and of those that have piled up at once.
const (
	eventsPerSecond = 20
	burst           = 40
)

// Kinds are the kinds of projectcalico.org/v3 in which something can have no effect.
func Kinds() []datastore.Kind {
	return []datastore.Kind{
		datastore.BGPConfigurations, datastore.BGPFilters, datastore.BGPPeers, datastore.CalicoNodeStatuses,
		datastore.ClusterInformations, datastore.FelixConfigurations, datastore.GlobalNetworkPolicies,
		datastore.IPAMConfigurations, datastore.IPPools,
		datastore.KubeControllersConfigurations, datastore.CalicoNetworkPolicies, datastore.StagedGlobalNetworkPolicies,
		datastore.StagedKubernetesNetworkPolicies, datastore.StagedNetworkPolicies,
	}
}

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, options Options) error {
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS, config.Burst = eventsPerSecond, burst
	limited, err := client.New(config, client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient(),
		Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return fmt.Errorf("make a client for events: %w", err)
	}
	f := newFollower()
	queue := make(queueing, 1)
	bld := builder.TypedControllerManagedBy[request](mgr).Named("effects").WatchesRawSource(queue).
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &corev1.Pod{}, of[*corev1.Pod](f, "Pod"))).
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &corev1.Node{}, of[*corev1.Node](f, "Node")))
	for _, kind := range []string{"Namespace", "Service"} {
		metadata := &metav1.PartialObjectMetadata{}
		metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
		bld = bld.WatchesRawSource(source.TypedKind(mgr.GetCache(), metadata,
			of[*metav1.PartialObjectMetadata](f, kind)))
	}
	err = errors.Join(
		bld.Complete(&reconciler{follower: f, events: events.Writer{Client: limited, Log: options.Log}}),
		mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
			return follow(ctx, options, f, queue)
		})))
	if err != nil {
		return fmt.Errorf("set up the effects controller: %w", err)
	}
	return nil
}

// follow reads the resources of projectcalico.org/v3 until ctx ends.
func follow(ctx context.Context, options Options, f *follower, queue queueing) error {
	select {
	case to := <-queue:
		err := typhasync.Run(ctx, options.Store, Kinds(), resources{f, to.Add}, options.Log)
		if ctx.Err() == nil {
			return fmt.Errorf("follow resources: %w", err)
		}
	case <-ctx.Done():
	}
	return nil
}

// queueing is a source that passes the queue on to who fills it: written once by the controller, read once by follow.
type queueing chan workqueue.TypedRateLimitingInterface[request]

// Start implements source.TypedSource.
func (q queueing) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[request]) error {
	q <- queue
	return nil
}

var _ source.TypedSource[request] = queueing(nil)

// of returns the handler of what an informer says of a kind of Kubernetes.
func of[T client.Object](f *follower, kind string) handler.TypedEventHandler[T, request] {
	type queue = workqueue.TypedRateLimitingInterface[request]
	seen := func(o T, inherited bool, q queue) {
		found := append(effects.Annotations(kind, o.GetAnnotations()), effects.Labels(kind, o.GetLabels())...)
		f.see(reference(corev1.SchemeGroupVersion.String(), kind, o), found, inherited, q.Add)
	}
	return handler.TypedFuncs[T, request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[T],
			q queue) {
			seen(e.Object, e.IsInInitialList, q)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[T], q queue) { seen(e.ObjectNew, false, q) },
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[T], _ queue) {
			f.lose(request{kind, e.Object.GetNamespace(), e.Object.GetName()})
		},
	}
}

// reconciler writes the events of one object after the other.
type reconciler struct {
	follower *follower
	events   events.Writer
}

// Reconcile writes the events that an object calls for, and have not been written.
func (r *reconciler) Reconcile(ctx context.Context, key request) (reconcile.Result, error) {
	s, ok := r.follower.statement(key)
	if !ok {
		return reconcile.Result{}, nil
	}
	for _, reason := range []string{ReasonUnprotected, ReasonNoEffect} {
		wanted, told := s.wanted[reason], s.told[reason]
		if wanted == told {
			continue
		}
		event := events.On(s.object, corev1.EventTypeWarning, reason, wanted)
		if wanted == "" {
			event = events.On(s.object, corev1.EventTypeNormal, ReasonEffective, "no longer: "+told)
		}
		if err := r.events.Write(ctx, event, s.inherited); err != nil {
			return reconcile.Result{}, err
		}
	}
	r.follower.told(key, s)
	return reconcile.Result{}, nil
}
