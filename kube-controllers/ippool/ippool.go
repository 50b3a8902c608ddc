// Package ippool writes conditions into the status of IPPools. Allocatable says whether
// addresses are given out of a pool, and if not, why; Valid is there, and False, while something in the spec would be
// refused by admission, and says what.
//
// A finalizer keeps a pool that is deleted until no address of it is in use, because without the pool its addresses
// have no routes. Meanwhile Typha hands it out as one that gives no addresses, and Allocatable says what it waits for.
//
// The judgement is that of api/ippool, by which Typha hands the pools out. It changes nothing but status and this
// finalizer. One controller-runtime worker on the leader calls it.
package ippool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maneki-net/maneki/api/ippool"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/kube-controllers/once"
	"github.com/maneki-net/maneki/kube-controllers/pause"
)

// The conditions, as in Calico where it has them.
const (
	ConditionAllocatable = "Allocatable"
	ConditionValid       = "Valid"
)

// Controller is the reconciler; its one request stands for all pools, because they are
// judged against each other.
type Controller struct {
	client client.Client
	store  datastore.Store
	log    *slog.Logger
}

// New makes a Controller. It reads from the client, which may have a cache, and confirms against the store.
func New(c client.Client, store datastore.Store, log *slog.Logger) *Controller {
	return &Controller{client: c, store: store, log: log}
}

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, store datastore.Store, log *slog.Logger) error {
	all := once.Request(once.All)
	err := ctrl.NewControllerManagedBy(mgr).
		Named("ippool").
		Watches(&v3.IPPool{}, all, builder.WithPredicates(changed)).
		Watches(&v3.IPAMBlock{}, ofTerminating(mgr.GetClient())).
		Complete(pause.While(mgr.GetClient(), log, New(mgr.GetClient(), store, log)))
	if err != nil {
		return fmt.Errorf("set up the ippool controller: %w", err)
	}
	return nil
}

// Reconcile judges all pools, and writes the conditions and finalizers that changed.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var list v3.IPPoolList
	if err := c.client.List(ctx, &list); err != nil {
		return reconcile.Result{}, fmt.Errorf("list IP pools: %w", err)
	}
	conditions := Judge(list.Items)
	var errs []error
	for i := range list.Items {
		errs = append(errs, c.reconcile(ctx, &list.Items[i], list.Items, conditions[list.Items[i].Name]))
	}
	return reconcile.Result{}, errors.Join(errs...)
}

// reconcile brings one of the pools up to date.
func (c *Controller) reconcile(ctx context.Context, pool *v3.IPPool, pools []v3.IPPool,
	condition metav1.Condition) error {
	if pool.DeletionTimestamp.IsZero() {
		if err := c.hold(ctx, pool); err != nil {
			return err
		}
	} else {
		used, err := c.release(ctx, pool, pools)
		if err != nil {
			return err
		}
		if len(pool.Finalizers) == 0 {
			return nil // it is gone
		}
		condition = waits(condition, used)
	}
	changed := meta.SetStatusCondition(&pool.Status.Conditions, condition)
	if !setValid(pool) && !changed {
		return nil
	}
	err := c.client.Status().Update(ctx, pool)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write status of IPPool %s: %w", pool.Name, err)
	}
	c.log.Info("judged IP pool", "pool", pool.Name, "allocatable", condition.Status, "reason", condition.Reason)
	return nil
}

// setValid brings the condition Valid up to date, and says whether it was not.
func setValid(pool *v3.IPPool) bool {
	errs := validate.Object(pool)
	if len(errs) == 0 {
		return meta.RemoveStatusCondition(&pool.Status.Conditions, ConditionValid)
	}
	return meta.SetStatusCondition(&pool.Status.Conditions, metav1.Condition{Type: ConditionValid,
		Status: metav1.ConditionFalse,
		Reason: ippool.ReasonInvalid, Message: errs.ToAggregate().Error(), ObservedGeneration: pool.Generation})
}

// Judge returns the condition Allocatable of each pool by name.
func Judge(pools []v3.IPPool) map[string]metav1.Condition {
	all, generations := make([]*v3.IPPool, len(pools)), map[string]int64{}
	for i := range pools {
		all[i], generations[pools[i].Name] = &pools[i], pools[i].Generation
	}
	conditions := map[string]metav1.Condition{}
	for name, verdict := range ippool.Judge(all) {
		status := metav1.ConditionFalse
		if verdict.Reason == ippool.ReasonOK {
			status = metav1.ConditionTrue
		}
		conditions[name] = metav1.Condition{Type: ConditionAllocatable, Status: status, Reason: verdict.Reason,
			Message: verdict.Message, ObservedGeneration: generations[name]}
	}
	return conditions
}
