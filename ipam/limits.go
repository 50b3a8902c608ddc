package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/maneki-net/maneki/api/ipreservation"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam/block"
)

// Limits restrict the assignment of addresses beside the pools.
type Limits struct {
	// Reserved are the addresses that are assigned only to a request for the very address.
	Reserved ipreservation.Set
	// Cooldown is how long a released address is not assigned again.
	Cooldown time.Duration
}

// SetLimits sets the function that returns the Limits, which a client otherwise reads from the Store. Call SetLimits
// before the client is used. The goroutines that assign and release addresses call limits.
func (c *Client) SetLimits(limits func() Limits) { c.limits = limits }

// reserved returns the addresses that are reserved. What cannot be read of an IPReservation reserves nothing.
func (c *Client) reserved(ctx context.Context) (ipreservation.Set, error) {
	if c.limits != nil {
		return c.limits().Reserved, nil
	}
	list, err := c.store.List(ctx, datastore.IPReservations, datastore.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list IP reservations: %w", err)
	}
	var nets []netip.Prefix
	for _, item := range list.Items {
		if o, ok := item.(*v3.IPReservation); ok {
			readable, _ := ipreservation.Read(o) // the calculation reports the rest
			nets = slices.Concat(nets, readable)
		}
	}
	return ipreservation.Merge(nets), nil
}

// cooldown returns how long a released address is not assigned again.
func (c *Client) cooldown(ctx context.Context) (time.Duration, error) {
	if c.limits != nil {
		return c.limits().Cooldown, nil
	}
	config, err := c.config(ctx)
	if err != nil || config.IPCooldownSeconds == nil {
		return 0, err
	}
	return min(max(time.Duration(*config.IPCooldownSeconds)*time.Second, 0), block.MaxCooldown), nil
}

// releaseFunc releases the allocations of a block that drop accepts, and returns them.
type releaseFunc func(b block.Block, drop func(block.Allocation) bool) []block.Lease

// releaser returns a function by which released addresses rest for the cooldown, and those that have rested are freed.
func (c *Client) releaser(ctx context.Context) (releaseFunc, error) {
	cooldown, err := c.cooldown(ctx)
	if err != nil {
		return nil, err
	}
	return func(b block.Block, drop func(block.Allocation) bool) []block.Lease {
		b.FreeRested(c.now(), cooldown)
		if cooldown > 0 {
			return b.Rest(drop, c.now())
		}
		return b.Release(drop)
	}, nil
}
