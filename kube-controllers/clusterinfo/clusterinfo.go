// Package clusterinfo keeps the ClusterInformation named default: the cluster's identity,
// the version that runs, and that the datastore is ready.
//
// It creates what is missing and brings the version up to date. It never changes a
// cluster's GUID, and never turns datastoreReady back on: false is how an administrator
// stops the data plane for a migration. One controller-runtime worker on the leader calls it.
package clusterinfo

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/initial"
	"github.com/maneki-net/maneki/kube-controllers/once"
	"github.com/maneki-net/maneki/kube-controllers/pause"
)

// name of the only ClusterInformation.
const name = "default"

// clusterType as Calico writes it for Kubernetes with its API as the datastore.
const clusterType = "k8s,kdd"

// Controller is the reconciler.
type Controller struct {
	client  client.Client
	version string
	log     *slog.Logger
}

// New makes a Controller. version is that of the running program.
func New(c client.Client, version string, log *slog.Logger) *Controller {
	return &Controller{client: c, version: version, log: log}
}

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, version string, log *slog.Logger) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("clusterinfo").
		For(&v3.ClusterInformation{}).
		WatchesRawSource(once.AtStart(types.NamespacedName{Name: name})).
		Complete(pause.While(mgr.GetClient(), log, New(mgr.GetClient(), version, log)))
	if err != nil {
		return fmt.Errorf("set up the clusterinfo controller: %w", err)
	}
	return nil
}

// Reconcile creates or completes the resource.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if request.Name != name {
		return reconcile.Result{}, nil
	}
	info := &v3.ClusterInformation{}
	err := c.client.Get(ctx, types.NamespacedName{Name: name}, info)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return reconcile.Result{}, fmt.Errorf("read ClusterInformation %s: %w", name, err)
	}
	wanted := initial.CompleteClusterInformation(info.Spec, c.version, clusterType)
	if !missing && equality.Semantic.DeepEqual(info.Spec, wanted) {
		return reconcile.Result{}, nil
	}
	info.Name, info.Spec = name, wanted
	write := func() error { return c.client.Update(ctx, info) }
	if missing {
		write = func() error { return c.client.Create(ctx, info) }
	}
	if err := write(); err != nil {
		return reconcile.Result{}, fmt.Errorf("write ClusterInformation %s: %w", name, err)
	}
	c.log.Info("wrote cluster information", "version", wanted.CalicoVersion, "guid", wanted.ClusterGUID)
	return reconcile.Result{}, nil
}
