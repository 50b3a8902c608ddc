package calicoctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/api/defaults"
	"github.com/maneki-net/maneki/datastore"
)

// dryRun is the flag --dry-run.
type dryRun string

const (
	dryNone   dryRun = "none"
	dryClient dryRun = "client"
	dryServer dryRun = "server"
)

func (d *dryRun) flag(command *cobra.Command) {
	command.Flags().StringVar((*string)(d), "dry-run", string(dryNone),
		"none; client: read and say what would be done; server: let the server judge it as well, without keeping it")
	fixed(command, "dry-run", string(dryNone), string(dryClient), string(dryServer))
}

// suffix marks a result as not real.
func (d dryRun) suffix() string {
	switch d {
	case dryClient:
		return " (dry run)"
	case dryServer:
		return " (server dry run)"
	}
	return ""
}

// over returns a store that does as the flag says.
func (d dryRun) over(store datastore.Store) (datastore.Store, error) {
	switch d {
	case "", dryNone:
		return store, nil
	case dryClient:
		return reading{store}, nil
	case dryServer:
		if server, ok := store.(interface{ DryRun() datastore.Store }); ok {
			if dry := server.DryRun(); dry != nil {
				return dry, nil
			}
		}
		return nil, errors.New("--dry-run=server: this datastore has no server that judges what it does not keep; " +
			"use --dry-run=client")
	}
	return nil, fmt.Errorf("--dry-run=%s: must be none, client or server", d)
}

// overEtcd is over for a datastore where this program is who judges.
func (d dryRun) overEtcd(store datastore.Store) (datastore.Store, error) {
	if d == dryServer {
		return admitting{reading{store}}, nil
	}
	return d.over(admitting{store})
}

// reading is a store that only seems to write.
type reading struct{ datastore.Store }

// Create implements datastore.Store.
func (r reading) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	if err := datastore.CheckWrite("create", kind, object, false); err != nil {
		return nil, err
	}
	_, err := r.Get(ctx, kind, datastore.KeyOf(object))
	switch {
	case errors.Is(err, datastore.ErrNotFound):
		return object, nil
	case err != nil:
		return nil, err
	}
	return nil, datastore.OpError("create", kind, datastore.KeyOf(object), datastore.ErrExists, nil)
}

// Update implements datastore.Store.
func (r reading) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (datastore.Object, error) {
	if err := datastore.CheckWrite("update", kind, object, true); err != nil {
		return nil, err
	}
	current, err := r.Get(ctx, kind, datastore.KeyOf(object))
	if err != nil {
		return nil, err
	}
	if current.GetResourceVersion() != object.GetResourceVersion() {
		return nil, datastore.OpError("update", kind, datastore.KeyOf(object), datastore.ErrConflict,
			fmt.Errorf("the object is at revision %s, not %s", current.GetResourceVersion(),
				object.GetResourceVersion()))
	}
	defaults.Derive(object)
	return object, nil
}

// Delete implements datastore.Store.
func (r reading) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, _ datastore.Preconditions) error {
	_, err := r.Get(ctx, kind, key)
	return err
}
