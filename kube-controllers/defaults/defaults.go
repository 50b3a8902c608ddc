// Package defaults makes the FelixConfiguration, the BGPConfiguration and the KubeControllersConfiguration named
// default where they are missing, at the start and whenever one is deleted: users' commands presuppose them.
//
// It never changes one that exists. One controller-runtime worker on the leader calls it.
package defaults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/initial"
	"github.com/maneki-net/maneki/kube-controllers/once"
	"github.com/maneki-net/maneki/kube-controllers/pause"
)

// Patience is how long a resource of the chart may be missing after the start before it is made: Helm makes them after
// the Deployment, and would fail if they were there.
const Patience = time.Minute

// resource is one that is kept.
type resource struct {
	kind  string
	make  func() client.Object
	chart bool // the chart makes it, too
}

var resources = []resource{
	{"FelixConfiguration", func() client.Object { return initial.FelixConfiguration() }, true},
	{"BGPConfiguration", func() client.Object { return initial.BGPConfiguration() }, true},
	{"KubeControllersConfiguration", func() client.Object { return initial.KubeControllersConfiguration() }, false},
}

// Controller is the reconciler; its one request stands for all resources.
type Controller struct {
	client   client.Client
	patience time.Duration
	log      *slog.Logger
	now      func() time.Time

	// The rest is the worker's.
	start time.Time       // of the first look
	seen  map[string]bool // the kinds whose resource existed at some look
}

// New makes a Controller.
func New(c client.Client, patience time.Duration, log *slog.Logger) *Controller {
	return &Controller{client: c, patience: patience, log: log, now: time.Now, seen: map[string]bool{}}
}

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, log *slog.Logger) error {
	all := once.Request(once.All)
	err := ctrl.NewControllerManagedBy(mgr).
		Named("defaults").
		WatchesMetadata(&v3.FelixConfiguration{}, all).
		WatchesMetadata(&v3.BGPConfiguration{}, all).
		WatchesMetadata(&v3.KubeControllersConfiguration{}, all).
		WatchesRawSource(once.AtStart(once.All)).
		Complete(pause.While(mgr.GetClient(), log, New(mgr.GetClient(), Patience, log)))
	if err != nil {
		return fmt.Errorf("set up the defaults controller: %w", err)
	}
	return nil
}

// Reconcile makes what is missing.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if c.start.IsZero() {
		c.start = c.now()
	}
	left := c.start.Add(c.patience).Sub(c.now())
	var result reconcile.Result
	var errs []error
	for _, r := range resources {
		exists, err := c.exists(ctx, r)
		switch {
		case err != nil:
			errs = append(errs, err)
		case exists:
			c.seen[r.kind] = true
		case r.chart && !c.seen[r.kind] && left > 0:
			result.RequeueAfter = left
		default:
			errs = append(errs, c.create(ctx, r))
		}
	}
	return result, errors.Join(errs...)
}

// exists reports whether there is one, readable or not.
func (c *Controller) exists(ctx context.Context, r resource) (bool, error) {
	var metadata metav1.PartialObjectMetadata
	metadata.SetGroupVersionKind(v3.GroupVersion.WithKind(r.kind))
	err := c.client.Get(ctx, client.ObjectKey{Name: initial.Name}, &metadata)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s %s: %w", r.kind, initial.Name, err)
	}
	return true, nil
}

func (c *Controller) create(ctx context.Context, r resource) error {
	err := c.client.Create(ctx, r.make())
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create %s %s: %w", r.kind, initial.Name, err)
	}
	c.log.Info("made what was missing", "kind", r.kind, "name", initial.Name)
	return nil
}
