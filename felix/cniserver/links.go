package cniserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// Links makes, checks and removes the pods' interfaces. A veth.Pairs is one.
type Links interface {
	Create(ctx context.Context, pair veth.Pair) (veth.Result, error)
	Check(ctx context.Context, pair veth.Pair) error
	Delete(ctx context.Context, host string) error
	// Exists reports whether the host's end exists.
	Exists(host string) (bool, error)
}

// RemoveInterfaces removes the interfaces of all pods in the records at dir, empty for
// DefaultRecords: the part of "felix cleanup" that only the records know. The pods lose their network.
// The records stay.
func RemoveInterfaces(ctx context.Context, dir string) error {
	records, err := openRecords(cmp.Or(dir, DefaultRecords), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range records.all() {
		if err := veth.Open().Delete(ctx, r.HostIface); err != nil {
			errs = append(errs, fmt.Errorf("remove interface %s of pod %s/%s: %w", r.HostIface, r.Namespace, r.Pod,
				err))
		}
	}
	return errors.Join(errs...)
}
