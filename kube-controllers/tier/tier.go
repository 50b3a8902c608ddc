// Package tier keeps the tiers that always exist, and writes the condition Ready into the status of every Tier: whether
// its policies are used at its place, and if not, why.
// It creates the built-in tiers that are missing, at the start and whenever one is deleted. Admission refuses to delete
// a built-in tier. Of an existing tier the package changes only the status. One controller-runtime worker on the leader
// calls it.
package tier

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

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/kube-controllers/once"
	"github.com/maneki-net/maneki/kube-controllers/pause"
)

// The condition and its reasons.
const (
	ConditionReady = "Ready"

	ReasonOK          = "OK"
	ReasonTerminating = "Terminating"
	ReasonInvalid     = "InvalidSpec"
)

// Controller is the reconciler; its one request stands for all tiers, since some may be missing.
type Controller struct {
	client client.Client
	log    *slog.Logger
}

// New makes a Controller.
func New(c client.Client, log *slog.Logger) *Controller { return &Controller{client: c, log: log} }

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, log *slog.Logger) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("tier").
		Watches(&v3.Tier{}, once.Request(once.All), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(once.AtStart(once.All)).
		Complete(pause.While(mgr.GetClient(), log, New(mgr.GetClient(), log)))
	if err != nil {
		return fmt.Errorf("set up the tier controller: %w", err)
	}
	return nil
}

// Reconcile makes what is missing, and writes the conditions that changed.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var list v3.TierList
	if err := c.client.List(ctx, &list); err != nil {
		return reconcile.Result{}, fmt.Errorf("list tiers: %w", err)
	}
	there := map[string]bool{}
	var errs []error
	for i := range list.Items {
		t := &list.Items[i]
		there[t.Name] = true
		errs = append(errs, c.tell(ctx, t))
	}
	for _, t := range v3.BuiltInTiers() {
		if !there[t.Name] {
			errs = append(errs, c.create(ctx, t))
		}
	}
	return reconcile.Result{}, errors.Join(errs...)
}

func (c *Controller) create(ctx context.Context, t *v3.Tier) error {
	err := c.client.Create(ctx, t)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create Tier %s: %w", t.Name, err)
	}
	c.log.Info("created built-in tier", "tier", t.Name)
	return nil
}

func (c *Controller) tell(ctx context.Context, t *v3.Tier) error {
	condition := Judge(t)
	if !meta.SetStatusCondition(&t.Status.Conditions, condition) {
		return nil
	}
	if err := c.client.Status().Update(ctx, t); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status of Tier %s: %w", t.Name, err)
	}
	c.log.Info("judged tier", "tier", t.Name, "ready", condition.Status, "reason", condition.Reason)
	return nil
}

// Judge returns the condition Ready of a tier.
func Judge(t *v3.Tier) metav1.Condition {
	condition := metav1.Condition{Type: ConditionReady, ObservedGeneration: t.Generation,
		Status: metav1.ConditionTrue, Reason: ReasonOK, Message: "the tier's policies are used"}
	errs := validate.Object(t)
	switch {
	case !t.DeletionTimestamp.IsZero():
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, ReasonTerminating,
			"the tier is being deleted"
	case len(errs) > 0:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, ReasonInvalid,
			errs.ToAggregate().Error()
	}
	return condition
}
