package uninstall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// ReleasePools removes the finalizer of kube-controllers from all IP pools: otherwise they could not be deleted any
// more. Those that are being deleted go. Without the CRD there are no pools.
func ReleasePools(ctx context.Context, c client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var pools v3.IPPoolList
	if err := c.List(ctx, &pools); meta.IsNoMatchError(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list IP pools: %w", err)
	}
	var errs []error
	for i := range pools.Items {
		pool := &pools.Items[i]
		before := pool.DeepCopy()
		if !controllerutil.RemoveFinalizer(pool, v3.IPPoolFinalizer) {
			continue
		}
		err := c.Patch(ctx, pool, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("remove the finalizer %s of IPPool %s: %w", v3.IPPoolFinalizer, pool.Name,
				err))
		}
	}
	return errors.Join(errs...)
}
