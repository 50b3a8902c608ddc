package calicoctl

import (
	"context"
	"errors"
	"fmt"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam"
)

// unused returns an error if addresses of a pool are in use and no finalizer keeps the pool until they are released, as
// in an etcd, where no controller sets one. Without the pool these addresses would have no routes.
func unused(ctx context.Context, store datastore.Store, name string) error {
	pool, err := datastore.Get[*v3.IPPool](ctx, store, datastore.IPPools, datastore.Key{Name: name})
	switch {
	case errors.Is(err, datastore.ErrNotFound):
		return nil // Delete says so
	case err != nil:
		return err
	case len(pool.Finalizers) > 0:
		return nil
	}
	pools, err := all[*v3.IPPool](ctx, store, datastore.IPPools)
	if err != nil {
		return err
	}
	blocks, err := all[*v3.IPAMBlock](ctx, store, datastore.IPAMBlocks)
	if err != nil {
		return err
	}
	used := ipam.InUse(pool, pools, blocks)
	if len(used) == 0 {
		return nil
	}
	return fmt.Errorf("addresses of the pool are in use (%d, the first is %s) and would have no routes without it: "+
		"set spec.disabled to true, and delete it when they are released", len(used), used[0].Addr)
}

// all returns the values of the objects of a kind.
func all[T interface {
	datastore.Object
	*V
}, V any](ctx context.Context, store datastore.Store, kind datastore.Kind) ([]V, error) {
	list, err := store.List(ctx, kind, datastore.ListOptions{})
	if err != nil {
		return nil, err
	}
	var values []V
	for _, item := range list.Items {
		if object, ok := item.(T); ok {
			values = append(values, *object)
		}
	}
	return values, nil
}
