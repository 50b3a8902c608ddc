package cniserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// Links makes, checks and removes the pods' interfaces, as package veth says.
type Links interface {
	Create(ctx context.Context, pair veth.Pair) (veth.Result, error)
	Check(ctx context.Context, pair veth.Pair) error
	Delete(ctx context.Context, host string) error
	// Exists says whether the host's end exists.
	Exists(host string) (bool, error)
}

// kernelLinks is the real Links, in the process's network namespace.
type kernelLinks struct{}

func (kernelLinks) Create(ctx context.Context, pair veth.Pair) (veth.Result, error) {
	return veth.Create(ctx, pair)
}

func (kernelLinks) Check(ctx context.Context, pair veth.Pair) error { return veth.Check(ctx, pair) }

func (kernelLinks) Delete(ctx context.Context, host string) error { return veth.Delete(ctx, host) }

func (kernelLinks) Exists(host string) (bool, error) {
	_, err := netlink.LinkByName(host)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return false, nil
	}
	return err == nil, err
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
		if err := veth.Delete(ctx, r.HostIface); err != nil {
			errs = append(errs, fmt.Errorf("remove interface %s of pod %s/%s: %w", r.HostIface, r.Namespace, r.Pod, err))
		}
	}
	return errors.Join(errs...)
}
