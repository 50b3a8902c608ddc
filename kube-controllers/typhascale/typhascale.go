// Package typhascale keeps the number of Typha's replicas in step with the number of nodes.
//
// It reads and writes the scale of one Deployment and nothing else, and never scales to zero. One controller-runtime
// worker on the leader calls it, when a node comes or goes, and every minute.
package typhascale

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maneki-net/maneki/kube-controllers/once"
)

// period is the longest time for which a scale that someone else wrote stays.
const period = time.Minute

// Controller is the reconciler; its one request stands for the Deployment.
type Controller struct {
	client     client.Client
	deployment types.NamespacedName
	log        *slog.Logger
}

// New makes a Controller.
func New(c client.Client, deployment types.NamespacedName, log *slog.Logger) *Controller {
	return &Controller{client: c, deployment: deployment, log: log}
}

// Add registers the controller with a manager.
func Add(mgr ctrl.Manager, deployment types.NamespacedName, log *slog.Logger) error {
	comings := predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("typhascale").
		Watches(&corev1.Node{}, once.Request(deployment), builder.WithPredicates(comings)).
		WatchesRawSource(once.AtStart(deployment)).
		Complete(New(mgr.GetClient(), deployment, log))
	if err != nil {
		return fmt.Errorf("set up the typhascale controller: %w", err)
	}
	return nil
}

// Reconcile counts the nodes that Felix runs on, and writes the scale if it is another.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	again := reconcile.Result{RequeueAfter: period}
	var nodes corev1.NodeList
	if err := c.client.List(ctx, &nodes,
		client.MatchingLabels{corev1.LabelOSStable: string(corev1.Linux)}); err != nil {
		return reconcile.Result{}, fmt.Errorf("count nodes: %w", err)
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: c.deployment.Namespace,
		Name: c.deployment.Name}}
	scale := &autoscalingv1.Scale{}
	switch err := c.client.SubResource("scale").Get(ctx, deployment, scale); {
	case apierrors.IsNotFound(err):
		return again, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("read scale of Deployment %s: %w", c.deployment, err)
	}
	before, wanted := scale.Spec.Replicas, Replicas(len(nodes.Items))
	if before == wanted {
		return again, nil
	}
	scale.Spec.Replicas = wanted
	if err := c.client.SubResource("scale").Update(ctx, deployment, client.WithSubResourceBody(scale)); err != nil {
		return reconcile.Result{}, fmt.Errorf("write scale of Deployment %s: %w", c.deployment, err)
	}
	c.log.Info("scaled typha", "deployment", c.deployment.String(), "nodes", len(nodes.Items), "before", before,
		"replicas", wanted)
	return again, nil
}

// nodesPerReplica is the share of one replica, as Calico's operator has it.
const nodesPerReplica = 200

// Replicas returns the number of replicas for a number of nodes: one for each 200 and one that may be away, at least 3;
// where there are few nodes, fewer than nodes, so that a replica always finds another node to move to.
func Replicas(nodes int) int32 {
	switch {
	case nodes <= 2:
		return 1
	case nodes <= 4:
		return 2
	}
	return int32(max(3, nodes/nodesPerReplica+2))
}
