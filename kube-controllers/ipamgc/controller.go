// Package ipamgc gives back the addresses of nodes and pods that are no more.
//
// It finds allocations whose pod does not exist, has finished, or has other addresses, and
// nodes that do not exist but own blocks; waits a grace period; asks the live API whether
// it is still so; and releases exactly the assignment that it judged, by its sequence
// number. It never assigns, and never touches what names neither a pod nor a node.
//
// Pods of a node whose Ready condition is Unknown may still run there, also when the API has forgotten them. Their
// addresses are kept until the node is heard of again, or deleted, or has the taint node.kubernetes.io/out-of-service.
//
// It also frees addresses that have rested for the cooldown, which nodes do only in blocks that they write.
//
// It also sets the ipam_ metrics, which describe the same snapshot.
//
// One controller-runtime worker on the leader owns all state.
package ipamgc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/maneki-net/maneki/api/ipreservation"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/kube-controllers/pause"
	"github.com/maneki-net/maneki/kube-controllers/runconfig"
)

// Releaser is the part of ipam.Client that the controller uses.
type Releaser interface {
	ReleaseAddrs(ctx context.Context, leases ...block.Lease) ([]block.Lease, error)
	ReleaseHost(ctx context.Context, node string, gone func(context.Context) (bool, error)) ([]block.Lease, error)
	FreeRested(ctx context.Context, blocks ...*v3.IPAMBlock) (next time.Duration, err error)
}

// Options configure the controller.
type Options struct {
	IPAM Releaser
	// Config returns how often to look at everything, and how long an address must be seen without a pod before it is
	// released; with 0 none is, but those of nodes that are gone. While it returns nil nothing is done.
	Config func() *runconfig.Node
	// Changed makes a request when Config changes.
	Changed source.Source
	// NodeGrace is how long a node must be seen missing before its addresses are released.
	NodeGrace time.Duration
	Log       *slog.Logger
}

// settle is how long changes are collected before one look at all of them.
const settle = time.Second

// Controller is the reconciler; its one request stands for the whole cluster.
type Controller struct {
	Options
	cached    client.Reader
	live      client.Reader
	collector *collector
	now       func() time.Time
}

// New makes a Controller that reads cached objects, and confirms against live ones.
func New(cached, live client.Reader, options Options) *Controller {
	return &Controller{
		Options:   options,
		cached:    cached,
		live:      live,
		collector: newCollector(0, options.NodeGrace),
		now:       time.Now,
	}
}

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, options Options) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("ipam").
		Watches(&corev1.Node{}, anyChange(), builder.WithPredicates(comesOrGoes)).
		Watches(&corev1.Pod{}, anyChange(), builder.WithPredicates(podEnds)).
		Watches(&v3.IPAMBlock{}, anyChange()).
		Watches(&v3.IPPool{}, anyChange()).
		Watches(&v3.IPReservation{}, anyChange()).
		WatchesRawSource(options.Changed).
		Complete(pause.While(mgr.GetClient(), options.Log, New(mgr.GetClient(), mgr.GetAPIReader(), options)))
	if err != nil {
		return fmt.Errorf("set up the ipam controller: %w", err)
	}
	return nil
}

// anyChange asks for a look at everything, soon.
func anyChange() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	soon := func(q queue) {
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: "all"}}, settle)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { soon(q) },
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, q queue) { soon(q) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q queue) { soon(q) },
	}
}

// comesOrGoes treats a node whose kubelet stops or resumes reporting like one that is deleted or created.
var comesOrGoes = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return ok1 && ok2 && heardOf(before) != heardOf(after)
	},
}

var podEnds = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Pod)
		after, ok2 := e.ObjectNew.(*corev1.Pod)
		return ok1 && ok2 && !finished(before) && finished(after)
	},
}

// Reconcile looks at everything once.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	config := c.Config()
	if config == nil {
		return reconcile.Result{}, nil
	}
	c.collector.leakGrace = config.LeakGracePeriod
	s, err := c.snapshot(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	v := c.collector.judge(s, c.now())
	measure(s, v)
	var errs []error
	for _, node := range v.nodes {
		errs = append(errs, c.releaseNode(ctx, node))
	}
	if config.LeakGracePeriod > 0 {
		errs = append(errs, c.releaseLeases(ctx, s, v.leases))
	}
	rested, err := c.freeRested(ctx, s)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return reconcile.Result{}, err
	}
	after := config.ReconcilerPeriod
	for _, next := range []time.Duration{v.next, rested} {
		if next > 0 && (after == 0 || next < after) {
			after = next
		}
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// freeRested frees the addresses that have rested for the cooldown in blocks that no node writes. It returns when the
// next one will have.
func (c *Controller) freeRested(ctx context.Context, s *snapshot) (time.Duration, error) {
	blocks := make([]*v3.IPAMBlock, len(s.blocks))
	for i := range s.blocks {
		blocks[i] = &s.blocks[i]
	}
	return c.IPAM.FreeRested(ctx, blocks...)
}

func (c *Controller) snapshot(ctx context.Context) (*snapshot, error) {
	var (
		blocks     v3.IPAMBlockList
		affinities v3.BlockAffinityList
		pools      v3.IPPoolList
		reserves   v3.IPReservationList
		nodes      corev1.NodeList
		pods       corev1.PodList
	)
	// Pods and nodes last, so that the owner of an allocation that is seen is likely seen too.
	for _, list := range []client.ObjectList{&blocks, &affinities, &pools, &reserves, &pods, &nodes} {
		if err := c.cached.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
	}
	s := &snapshot{
		blocks:     blocks.Items,
		affinities: affinities.Items,
		pools:      pools.Items,
		nodes:      map[string]bool{},
		pods:       map[types.NamespacedName]*corev1.Pod{},
		reserved:   reservedBy(reserves.Items),
	}
	for i := range nodes.Items {
		s.nodes[nodes.Items[i].Name] = heardOf(&nodes.Items[i])
	}
	for i := range pods.Items {
		s.pods[client.ObjectKeyFromObject(&pods.Items[i])] = &pods.Items[i]
	}
	return s, nil
}

// reservedBy returns the addresses that reservations name, as far as they can be read.
func reservedBy(reservations []v3.IPReservation) ipreservation.Set {
	var nets []netip.Prefix
	for i := range reservations {
		readable, _ := ipreservation.Read(&reservations[i]) // the calculation reports the rest
		nets = append(nets, readable...)
	}
	return ipreservation.Merge(nets)
}

// releaseNode releases a node that the live API does not know either.
func (c *Controller) releaseNode(ctx context.Context, node string) error {
	confirmed := false
	released, err := c.IPAM.ReleaseHost(ctx, node, func(ctx context.Context) (_ bool, err error) {
		confirmed, err = c.gone(ctx, node)
		return confirmed, err
	})
	if err == nil && confirmed {
		c.Log.Info("released deleted node", "node", node, "addresses", len(released))
	}
	return err
}

// gone reports, from the live API, whether a node and its pods are gone.
func (c *Controller) gone(ctx context.Context, node string) (bool, error) {
	err := c.live.Get(ctx, types.NamespacedName{Name: node}, &corev1.Node{})
	if err == nil {
		return false, nil
	}
	if !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("read node %s: %w", node, err)
	}
	var pods corev1.PodList
	if err := c.live.List(ctx, &pods, client.MatchingFields{"spec.nodeName": node}); err != nil {
		return false, fmt.Errorf("list pods of node %s: %w", node, err)
	}
	for i := range pods.Items {
		if !finished(&pods.Items[i]) {
			return false, nil
		}
	}
	return true, nil
}

// heard reports, from the live API, whether a node's kubelet reports. It returns true for a node that does not exist,
// which keeps no addresses.
func (c *Controller) heard(ctx context.Context, node string) (bool, error) {
	var found corev1.Node
	err := c.live.Get(ctx, types.NamespacedName{Name: node}, &found)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read node %s: %w", node, err)
	}
	return heardOf(&found), nil
}

// releaseLeases releases those that the live API confirms as leaked, in one go.
func (c *Controller) releaseLeases(ctx context.Context, s *snapshot, leaked []block.Allocation) error {
	var confirmed []block.Lease
	var errs []error
	heard := map[string]bool{}
	for _, a := range leaked {
		node := a.Attributes[ipam.AttrNode]
		if _, asked := heard[node]; !asked {
			is, err := c.heard(ctx, node)
			errs = append(errs, err)
			heard[node] = is
		}
		pod := &corev1.Pod{}
		err := c.live.Get(ctx, podOf(a), pod)
		if apierrors.IsNotFound(err) {
			pod, err = nil, nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read pod %s: %w", podOf(a), err))
		} else if unused(pod, a, heard[node]) {
			confirmed = append(confirmed, a.Lease)
		}
	}
	if len(confirmed) == 0 {
		return errors.Join(errs...)
	}
	released, err := c.IPAM.ReleaseAddrs(ctx, confirmed...)
	for _, lease := range released {
		c.Log.Info("released leaked address", "addr", lease.Addr, "handle", lease.Handle)
	}
	reclaimed(s, leaked, released)
	return errors.Join(append(errs, err)...)
}
