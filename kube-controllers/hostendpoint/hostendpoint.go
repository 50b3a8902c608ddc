// Package hostendpoint keeps HostEndpoints for the cluster's nodes, where the KubeControllersConfiguration named
// default asks for them: one for all interfaces of a node, and one for each template that selects it.
//
// It touches only what carries its label, which it deletes when the node is gone or nobody asks any more. While the
// configuration can't be read, or the controller node does not run, everything stays as it is. One
// controller-runtime worker on the leader calls it.
package hostendpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/kube-controllers/once"
	"github.com/maneki-net/maneki/kube-controllers/pause"
	"github.com/maneki-net/maneki/kube-controllers/runconfig"
)

// Controller is the reconciler; its one request stands for all nodes.
type Controller struct {
	client client.Client
	config func() *runconfig.Node
	log    *slog.Logger
}

// New makes a Controller. config says which host endpoints are asked for. While it returns nil nothing is done.
func New(c client.Client, config func() *runconfig.Node, log *slog.Logger) *Controller {
	return &Controller{client: c, config: config, log: log}
}

// Add registers the controller with a manager. changed makes a request when config changes.
func Add(mgr ctrl.Manager, config func() *runconfig.Node, changed source.Source, log *slog.Logger) error {
	all := once.Request(once.All)
	ours := predicate.NewPredicateFuncs(
		func(o client.Object) bool { return o.GetLabels()[labelCreatedBy] == createdBy })
	err := ctrl.NewControllerManagedBy(mgr).
		Named("hostendpoint").
		Watches(&v3.HostEndpoint{}, all, builder.WithPredicates(ours)).
		Watches(&corev1.Node{}, all, builder.WithPredicates(predicate.Funcs{UpdateFunc: nodeChanged})).
		WatchesRawSource(changed).
		Complete(pause.While(mgr.GetClient(), log, New(mgr.GetClient(), config, log)))
	if err != nil {
		return fmt.Errorf("set up the hostendpoint controller: %w", err)
	}
	return nil
}

// nodeChanged reports whether a host endpoint could become another: nodes also tell that they are alive.
func nodeChanged(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*corev1.Node)
	after, both := e.ObjectNew.(*corev1.Node)
	return !ok || !both || !equality.Semantic.DeepEqual(before.Labels, after.Labels) ||
		!equality.Semantic.DeepEqual(before.Annotations, after.Annotations) ||
		!equality.Semantic.DeepEqual(before.Status.Addresses, after.Status.Addresses)
}

// Reconcile makes, changes and deletes what differs from what is asked for.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	config := c.config()
	if config == nil {
		return reconcile.Result{}, nil
	}
	wanted := map[string]*v3.HostEndpoint{}
	if config.HostEndpoint.AutoCreate == autoCreateEnabled {
		var nodes corev1.NodeList
		if err := c.client.List(ctx, &nodes); err != nil {
			return reconcile.Result{}, fmt.Errorf("list nodes: %w", err)
		}
		for i := range nodes.Items {
			for _, h := range Wanted(&config.HostEndpoint, &nodes.Items[i]) {
				wanted[h.Name] = h
			}
		}
	}
	var there v3.HostEndpointList
	if err := c.client.List(ctx, &there, client.MatchingLabels{labelCreatedBy: createdBy}); err != nil {
		return reconcile.Result{}, fmt.Errorf("list host endpoints: %w", err)
	}
	var errs []error
	for i := range there.Items {
		h := &there.Items[i]
		errs = append(errs, c.bring(ctx, h, wanted[h.Name]))
		delete(wanted, h.Name)
	}
	for _, h := range wanted {
		errs = append(errs, c.create(ctx, h))
	}
	return reconcile.Result{}, errors.Join(errs...)
}

func (c *Controller) create(ctx context.Context, h *v3.HostEndpoint) error {
	if err := c.client.Create(ctx, h); err != nil {
		return fmt.Errorf("create HostEndpoint %s: %w", h.Name, err)
	}
	c.log.Info("created host endpoint", "hostendpoint", h.Name, "node", h.Spec.Node)
	return nil
}

// bring changes a host endpoint to what is wanted, which is nil for one that is to go.
func (c *Controller) bring(ctx context.Context, h, wanted *v3.HostEndpoint) error {
	if wanted == nil {
		if err := c.client.Delete(ctx, h); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete HostEndpoint %s: %w", h.Name, err)
		}
		c.log.Info("deleted host endpoint", "hostendpoint", h.Name, "node", h.Spec.Node)
		return nil
	}
	if equality.Semantic.DeepEqual(h.Spec, wanted.Spec) && equality.Semantic.DeepEqual(h.Labels, wanted.Labels) &&
		equality.Semantic.DeepEqual(h.Annotations, wanted.Annotations) {
		return nil
	}
	changed := h.DeepCopy()
	changed.Spec, changed.Labels, changed.Annotations = wanted.Spec, wanted.Labels, wanted.Annotations
	if err := c.client.Update(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update HostEndpoint %s: %w", h.Name, err)
	}
	c.log.Info("updated host endpoint", "hostendpoint", h.Name, "node", h.Spec.Node)
	return nil
}
