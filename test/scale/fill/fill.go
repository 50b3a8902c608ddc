// Package fill hands the resources of a cluster to Typha's hub, for benchmarks of what it serves. It keeps nothing, and
// works on its caller's goroutine.
package fill

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/test/scale"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
)

// Hub hands over each kind in one list, as it comes from a datastore.
func Hub(ctx context.Context, h *hub.Hub, clusters ...scale.Resources) error {
	byKind := map[string][]metav1.Object{}
	for _, resources := range clusters {
		for o := range resources {
			kind, err := datastore.KindOf(o.(datastore.Object))
			if err != nil {
				return err
			}
			byKind[kind.ID()] = append(byKind[kind.ID()], o)
		}
	}
	for _, kind := range sync.Names(sync.KubernetesKinds()) {
		u := hub.Update{Kind: kind, Upserts: byKind[kind], Listed: true, Seen: "1", Changed: "1"}
		if err := h.Update(ctx, u); err != nil {
			return err
		}
	}
	select {
	case <-h.InSync():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
