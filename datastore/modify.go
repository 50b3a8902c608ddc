package datastore

import (
	"context"
	"errors"
	"fmt"
)

// Get is Store.Get with the object's type.
func Get[T Object](ctx context.Context, s Store, kind Kind, key Key) (T, error) {
	var none T
	o, err := s.Get(ctx, kind, key)
	if err != nil {
		return none, err
	}
	typed, ok := o.(T)
	if !ok {
		return none, fmt.Errorf("get %s %s: the store returned a %T", kind, key, o)
	}
	return typed, nil
}

// Modify reads an object, lets change alter it and updates it, and starts over when it was
// changed by another in between. It ends with the first other error, change's included, or
// ctx's; it returns the object as stored.
func Modify[T Object](ctx context.Context, s Store, kind Kind, key Key, change func(T) error) (T, error) {
	var none T
	for {
		object, err := Get[T](ctx, s, kind, key)
		if err != nil {
			return none, err
		}
		if err := change(object); err != nil {
			return none, fmt.Errorf("modify %s %s: %w", kind, key, err)
		}
		stored, err := s.Update(ctx, kind, object)
		switch {
		case errors.Is(err, ErrConflict):
			continue
		case err != nil:
			return none, err
		}
		return stored.(T), nil
	}
}
