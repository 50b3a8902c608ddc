// Package pause keeps controllers from writing while the ClusterInformation says datastoreReady: false, as an
// administrator has it during a migration of the datastore.
//
// It wraps reconcilers, on the worker that calls them, and owns no state. It reads the manager's cache. Without a
// ClusterInformation the datastore is ready.
package pause

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// Again is how long after a request that had to wait it is looked at again.
const Again = 5 * time.Second

// While returns a reconciler that calls another one when the datastore is ready. Until then requests wait.
func While(cached client.Reader, log *slog.Logger, next reconcile.Reconciler) reconcile.Reconciler {
	paused := false // a controller has one worker
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		info := &v3.ClusterInformation{}
		err := cached.Get(ctx, types.NamespacedName{Name: v3.ClusterInformationName}, info)
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("read ClusterInformation %s: %w", v3.ClusterInformationName, err)
		}
		ready := err != nil || info.Spec.IsDatastoreReady()
		if paused == ready {
			paused = !ready
			if paused {
				log.Warn("paused: ClusterInformation default says datastoreReady: false")
			} else {
				log.Info("goes on: the datastore is ready")
			}
		}
		if paused {
			return reconcile.Result{RequeueAfter: Again}, nil
		}
		return next.Reconcile(ctx, request)
	})
}
