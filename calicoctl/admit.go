package calicoctl

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/defaults"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/datastore"
)

// admitting is a store that judges and completes what it is given, as admission does in Kubernetes. Unlike there, two
// writes at the same time can get past it: pools that overlap, or a policy in a tier that is being deleted.
type admitting struct{ datastore.Store }

// ensureTiers makes the built-in tiers that are missing, as kube-controllers does in Kubernetes. Who may not write them
// can do the rest: to the nodes they exist also when they are not stored.
func ensureTiers(ctx context.Context, store datastore.Store) error {
	list, err := store.List(ctx, datastore.Tiers, datastore.ListOptions{})
	stored := map[string]bool{}
	for _, tier := range list.Items {
		stored[tier.GetName()] = true
	}
	for _, tier := range v3.BuiltInTiers() {
		if err == nil && !stored[tier.Name] {
			_, err = store.Create(ctx, datastore.Tiers, tier)
		}
		if errors.Is(err, datastore.ErrExists) {
			err = nil // since the list, or it cannot be read
		}
	}
	if errors.Is(err, datastore.ErrUnavailable) {
		return err // so that nobody waits twice
	}
	return nil
}

// Create implements datastore.Store.
func (a admitting) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	object, err := a.admit(ctx, "create", kind, object, nil)
	if err != nil {
		return nil, err
	}
	return a.Store.Create(ctx, kind, object)
}

// Update implements datastore.Store.
func (a admitting) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	old, err := a.Get(ctx, kind, datastore.KeyOf(object))
	if err != nil {
		return nil, err
	}
	object, err = a.admit(ctx, "update", kind, object, old)
	if err != nil {
		return nil, err
	}
	return a.Store.Update(ctx, kind, object)
}

// admit returns the object as it is to be stored; old is nil where there is none.
func (a admitting) admit(ctx context.Context, operation string, kind datastore.Kind, object,
	old datastore.Object) (datastore.Object, error) {
	object = object.DeepCopyObject().(datastore.Object)
	if err := defaults.Set(object); err != nil {
		return nil, datastore.OpError(operation, kind, datastore.KeyOf(object), datastore.ErrInvalid, err)
	}
	errs := validate.Object(object)
	if old != nil {
		errs = validate.Update(object, old)
	}
	if pool, ok := object.(*v3.IPPool); ok {
		overlaps, err := a.overlaps(ctx, pool)
		if err != nil {
			return nil, err
		}
		errs = append(errs, overlaps...)
	}
	if err := errs.ToAggregate(); err != nil {
		return nil, datastore.OpError(operation, kind, datastore.KeyOf(object), datastore.ErrInvalid, err)
	}
	return object, nil
}

func (a admitting) overlaps(ctx context.Context, pool *v3.IPPool) (field.ErrorList, error) {
	list, err := a.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		return nil, err
	}
	var others []*v3.IPPool
	for _, item := range list.Items {
		others = append(others, item.(*v3.IPPool))
	}
	return validate.Pools(pool, others), nil
}

// Delete implements datastore.Store.
func (a admitting) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key,
	pre datastore.Preconditions) error {
	if kind == datastore.Tiers {
		policies, err := a.policiesOf(ctx, key.Name)
		if err != nil {
			return err
		}
		if err := validate.DeleteTier(key.Name, policies); err != nil {
			return datastore.OpError("delete", kind, key, datastore.ErrInvalid, err)
		}
	}
	return a.Store.Delete(ctx, kind, key, pre)
}

// policiesOf names the policies of a tier.
func (a admitting) policiesOf(ctx context.Context, tier string) ([]string, error) {
	var names []string
	for _, kind := range []datastore.Kind{datastore.CalicoNetworkPolicies, datastore.GlobalNetworkPolicies,
		datastore.StagedNetworkPolicies, datastore.StagedGlobalNetworkPolicies} {
		list, err := a.List(ctx, kind, datastore.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("find the policies of the tier: %w", err)
		}
		for _, item := range list.Items {
			defaults.Derive(item)
			if item.GetLabels()[v3.TierLabel] == tier {
				names = append(names, kind.String()+" "+datastore.KeyOf(item).String())
			}
		}
	}
	return names, nil
}
