// Package ippool writes conditions into the status of IPPools. Allocatable says whether
// addresses are given out of a pool, and if not, why; Valid is there, and False, while something in the spec would be
// refused by admission, and says what.
//
// The judgement is that of api/ippool, by which Typha hands the pools out. It changes nothing but status. One
// controller-runtime worker on the leader calls it.
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
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maneki-net/maneki/api/ippool"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
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
	log    *slog.Logger
}

// New makes a Controller.
func New(c client.Client, log *slog.Logger) *Controller { return &Controller{client: c, log: log} }

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, log *slog.Logger) error {
	all := once.Request(once.All)
	err := ctrl.NewControllerManagedBy(mgr).
		Named("ippool").
		Watches(&v3.IPPool{}, all, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(pause.While(mgr.GetClient(), log, New(mgr.GetClient(), log)))
	if err != nil {
		return fmt.Errorf("set up the ippool controller: %w", err)
	}
	return nil
}

// Reconcile judges all pools, and writes the conditions that changed.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var list v3.IPPoolList
	if err := c.client.List(ctx, &list); err != nil {
		return reconcile.Result{}, fmt.Errorf("list IP pools: %w", err)
	}
	conditions := Judge(list.Items)
	var errs []error
	for i := range list.Items {
		pool := &list.Items[i]
		condition := conditions[pool.Name]
		changed := meta.SetStatusCondition(&pool.Status.Conditions, condition)
		if !setValid(pool) && !changed {
			continue
		}
		err := c.client.Status().Update(ctx, pool)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write status of IPPool %s: %w", pool.Name, err))
			continue
		}
		c.log.Info("judged IP pool", "pool", pool.Name, "allocatable", condition.Status, "reason", condition.Reason)
	}
	return reconcile.Result{}, errors.Join(errs...)
}

// setValid brings the condition Valid up to date, and says whether it was not.
func setValid(pool *v3.IPPool) bool {
	errs := validate.Object(pool)
	if len(errs) == 0 {
		return meta.RemoveStatusCondition(&pool.Status.Conditions, ConditionValid)
	}
	return meta.SetStatusCondition(&pool.Status.Conditions, metav1.Condition{Type: ConditionValid, Status: metav1.ConditionFalse,
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
