package ippool

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/kube-controllers/once"
)

// changed lets pass what changes the spec of a pool, begins its deletion, or takes the finalizer from it.
var changed = predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return !controllerutil.ContainsFinalizer(e.ObjectNew, v3.IPPoolFinalizer)
	},
})

// ofTerminating makes the request for a block that a pool which is being deleted contains: an address may have been
// released.
func ofTerminating(cached client.Reader) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		block, is := o.(*v3.IPAMBlock)
		var pools v3.IPPoolList
		if !is || cached.List(ctx, &pools) != nil { // it has been listed before, or will be when pools are there
			return nil
		}
		for i := range pools.Items {
			pool := &pools.Items[i]
			if !pool.DeletionTimestamp.IsZero() && ipam.Contains(pool, block) {
				return []reconcile.Request{{NamespacedName: once.All}}
			}
		}
		return nil
	})
}

// hold sets the finalizer on a pool that lacks it.
func (c *Controller) hold(ctx context.Context, pool *v3.IPPool) error {
	return c.write(ctx, pool, "set", controllerutil.AddFinalizer)
}

// release removes the finalizer from a pool that is being deleted, unless addresses of it are in use: it returns these.
func (c *Controller) release(
	ctx context.Context, pool *v3.IPPool, pools []v3.IPPool,
) ([]block.Allocation, error) {
	if !controllerutil.ContainsFinalizer(pool, v3.IPPoolFinalizer) {
		return nil, nil
	}
	var blocks v3.IPAMBlockList
	if err := c.client.List(ctx, &blocks); err != nil {
		return nil, fmt.Errorf("list the blocks of IPPool %s: %w", pool.Name, err)
	}
	if used := ipam.InUse(pool, pools, blocks.Items); len(used) > 0 {
		return used, nil
	}
	// The cache may be late: a node may just have assigned an address.
	live, err := c.blocks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the blocks of IPPool %s: %w", pool.Name, err)
	}
	if used := ipam.InUse(pool, pools, live); len(used) > 0 {
		return used, nil
	}
	if err := c.write(ctx, pool, "remove", controllerutil.RemoveFinalizer); err != nil {
		return nil, err
	}
	c.log.Info("no address of the IP pool is in use, it may go", "pool", pool.Name)
	return nil, nil
}

// blocks returns the blocks that can be read, from the API server.
func (c *Controller) blocks(ctx context.Context) ([]v3.IPAMBlock, error) {
	list, err := c.store.List(ctx, datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		return nil, err
	}
	var blocks []v3.IPAMBlock
	for _, item := range list.Items {
		if block, is := item.(*v3.IPAMBlock); is {
			blocks = append(blocks, *block)
		}
	}
	return blocks, nil
}

// write changes the finalizers of a pool, if nobody else has changed the pool meanwhile.
func (c *Controller) write(
	ctx context.Context, pool *v3.IPPool, verb string, change func(client.Object, string) bool,
) error {
	before := pool.DeepCopy()
	if !change(pool, v3.IPPoolFinalizer) {
		return nil
	}
	err := c.client.Patch(ctx, pool, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s the finalizer %s of IPPool %s: %w", verb, v3.IPPoolFinalizer, pool.Name, err)
	}
	return nil
}

// examples is how many addresses a condition names.
const examples = 3

// waits completes the condition of a pool that is being deleted with the addresses that it waits for.
func waits(condition metav1.Condition, used []block.Allocation) metav1.Condition {
	if len(used) == 0 {
		return condition
	}
	var named []string
	for _, a := range used[:min(len(used), examples)] {
		owner := "handle " + a.Handle
		if pod := a.Attributes[ipam.AttrPod]; pod != "" {
			owner = "pod " + a.Attributes[ipam.AttrNamespace] + "/" + pod
		}
		named = append(named, fmt.Sprintf("%s of %s", a.Addr, owner))
	}
	if len(used) > examples {
		named = append(named, "…")
	}
	condition.Message = fmt.Sprintf(
		"the pool is being deleted and goes when no address of it is in use; in use: %d (%s); "+
			"delete these pods: new ones get addresses of other pools", len(used), strings.Join(named, ", "))
	return condition
}
