// Package status follows every replica of Typha, and is the only one that writes into the API what they say: which
// nodes have applied what they were handed out, and which resources cannot be used.
//
// A CalicoNodeStatus gets what its node reports on itself. A Node gets the condition ConditionProgrammed, and a
// ClusterNetworkPolicy ConditionAccepted. IP pools and tiers have controllers of their own. Any other resource gets an
// event when it cannot be used, and another when it can again.
// Only what is different is written: what the API server has already, from an earlier run or another leader, is not
// repeated. What can't be known, because a replica does not answer, stays as it is.
//
// It runs on the leader: a goroutine for each replica, one for the policies, and three controller-runtime workers that
// write.
package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/maneki-net/maneki/datastore"
	typhasync "github.com/maneki-net/maneki/typha/sync"
)

// Options configure the controllers.
type Options struct {
	Replicas Replicas
	Observe  Observe
	// Store is where the ClusterNetworkPolicies are.
	Store datastore.Store
	Log   *slog.Logger
}

// What is written in one second at most, and of what has piled up at once: when a whole cluster changes its state, the
// API server is not to notice.
const (
	requestsPerSecond = 20
	burst             = 40
)

// controllers are the parts, which Add puts together.
type controllers struct {
	Options
	picture   *picture
	policies  *policies
	nodes     chan []reconcile.Request // unbuffered; written by the followers, read by the nodes' controller
	resources chan []resource          // the same for the resources
	cached    client.Reader
}

// Add registers the controllers with a manager.
func Add(mgr ctrl.Manager, options Options) error {
	// Not the manager's client: reads are not to fill a cache with every policy of the cluster, and writes have a limit
	// of their own.
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS, config.Burst = requestsPerSecond, burst
	direct, err := client.New(config, client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient(),
		Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return fmt.Errorf("make a client for status: %w", err)
	}
	c := &controllers{Options: options, picture: newPicture(), nodes: make(chan []reconcile.Request),
		resources: make(chan []resource), cached: mgr.GetClient()}
	c.policies = &policies{say: c.say, known: map[string]generation{}}
	nodes := &nodeReconciler{cached: c.cached, client: direct, picture: c.picture, log: options.Log,
		states: map[string]*nodeState{}}
	resources := &resourceReconciler{client: direct, picture: c.picture, policies: c.policies, log: options.Log,
		told: map[resource]string{}}
	err = errors.Join(
		ctrl.NewControllerManagedBy(mgr).
			Named("status-nodes").
			Watches(&corev1.Node{}, &handler.EnqueueRequestForObject{},
				builder.WithPredicates(predicate.Funcs{UpdateFunc: conditionChanged})).
			WatchesRawSource(from(c.nodes)).
			Complete(nodes),
		builder.TypedControllerManagedBy[resource](mgr).
			Named("status-resources").
			WatchesRawSource(from(c.resources)).
			Complete(resources),
		addAnswers(mgr, c),
		mgr.Add(manager.RunnableFunc(c.run)))
	if err != nil {
		return fmt.Errorf("set up the status controllers: %w", err)
	}
	return nil
}

// from is the source of requests that a channel gives.
func from[T comparable](requests <-chan []T) source.TypedSource[T] {
	return source.TypedFunc[T](func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[T]) error {
		go func() {
			for {
				select {
				case all := <-requests:
					for _, one := range all {
						queue.Add(one)
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		return nil
	})
}

// conditionChanged reports whether someone wrote our condition: nodes also tell that they are alive.
func conditionChanged(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*corev1.Node)
	after, both := e.ObjectNew.(*corev1.Node)
	return !ok || !both || !equality.Semantic.DeepEqual(Condition(before), Condition(after))
}

// run follows the replicas and the policies until ctx ends.
func (c *controllers) run(ctx context.Context) error {
	f := &follower{replicas: c.Replicas, observe: c.Observe, picture: c.picture, say: c.say, log: c.Log,
		followed: map[string]bool{}}
	g, working := errgroup.WithContext(ctx)
	g.Go(func() error { return c.Replicas.Run(working) })
	g.Go(func() error { return f.run(working) })
	g.Go(func() error {
		return typhasync.Run(working, c.Store, []datastore.Kind{datastore.ClusterNetworkPolicies}, c.policies, c.Log)
	})
	if err := g.Wait(); ctx.Err() == nil {
		return fmt.Errorf("follow typha: %w", err)
	}
	return nil
}

// say has the workers look at what changed.
func (c *controllers) say(ctx context.Context, changed change) {
	if len(changed.resources) > 0 {
		measure(c.picture)
	}
	resources := changed.resources
	if changed.everyPolicy {
		resources = append(resources, c.policies.all()...)
	}
	var nodes []reconcile.Request
	for _, name := range changed.nodes {
		nodes = append(nodes, requestFor(name))
	}
	if changed.everyNode {
		var all corev1.NodeList
		if err := c.cached.List(ctx, &all); err != nil {
			c.Log.Warn("nodes not listed", "error", err) // the cache has ended, or is of another type
		}
		for i := range all.Items {
			nodes = append(nodes, requestFor(all.Items[i].Name))
		}
	}
	send(ctx, c.resources, resources)
	send(ctx, c.nodes, nodes)
}

func requestFor(node string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: node}}
}

func send[T any](ctx context.Context, to chan<- []T, all []T) {
	if len(all) == 0 {
		return
	}
	select {
	case to <- all:
	case <-ctx.Done():
	}
}
