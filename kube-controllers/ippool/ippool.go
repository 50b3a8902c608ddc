// Package ippool writes conditions into the status of IPPools. Allocatable says whether
// addresses are given out of a pool, and if not, why; Valid is there, and False, while something in the spec would be
// refused by admission, and says what.
//
// The judgement depends on the pools alone, so it is the same on every replica and after
// every restart: of two pools that overlap, the one created first (then the one whose name
// comes first) keeps the addresses. It changes nothing but status. One controller-runtime
// worker on the leader calls it.
package ippool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/kube-controllers/once"
)

// The condition and its reasons, as in Calico where it has them.
const (
	ConditionAllocatable = "Allocatable"
	ConditionValid       = "Valid"

	ReasonOK          = "OK"
	ReasonDisabled    = "PoolDisabled"
	ReasonTerminating = "Terminating"
	ReasonOverlap     = "CIDROverlap"
	ReasonInvalid     = "InvalidSpec"
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
		Complete(New(mgr.GetClient(), log))
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
		Reason: ReasonInvalid, Message: errs.ToAggregate().Error(), ObservedGeneration: pool.Generation})
}

// Judge gives the condition Allocatable of each pool by name.
func Judge(pools []v3.IPPool) map[string]metav1.Condition {
	sorted := slices.Clone(pools)
	slices.SortFunc(sorted, func(a, b v3.IPPool) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	conditions := map[string]metav1.Condition{}
	var active []ipam.Pool
	for i := range sorted {
		condition, cidr := judge(&sorted[i], active)
		condition.Type, condition.ObservedGeneration = ConditionAllocatable, sorted[i].Generation
		conditions[sorted[i].Name] = condition
		if condition.Status == metav1.ConditionTrue {
			active = append(active, ipam.Pool{Name: sorted[i].Name, CIDR: cidr})
		}
	}
	return conditions
}

func judge(p *v3.IPPool, active []ipam.Pool) (metav1.Condition, netip.Prefix) {
	no := func(reason, message string) (metav1.Condition, netip.Prefix) {
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}, netip.Prefix{}
	}
	pool, err := ipam.PoolOf(p)
	switch {
	case !p.DeletionTimestamp.IsZero():
		return no(ReasonTerminating, "the pool is being deleted")
	case p.Spec.Disabled:
		return no(ReasonDisabled, "spec.disabled is true")
	case err != nil:
		return no(ReasonInvalid, err.Error())
	}
	for _, s := range []struct{ name, text string }{
		{"nodeSelector", p.Spec.NodeSelector}, {"namespaceSelector", p.Spec.NamespaceSelector},
	} {
		if _, err := selector.Parse(s.text); err != nil {
			return no(ReasonInvalid, fmt.Sprintf("spec.%s selects nothing: %v", s.name, err))
		}
	}
	for _, other := range active {
		if other.CIDR.Overlaps(pool.CIDR) {
			return no(ReasonOverlap, fmt.Sprintf("%s overlaps %s of IPPool %s", pool.CIDR, other.CIDR, other.Name))
		}
	}
	return metav1.Condition{Status: metav1.ConditionTrue, Reason: ReasonOK,
		Message: "addresses are assigned from the pool"}, pool.CIDR
}
