package ipam

import (
	"context"
	"errors"
	"slices"
	"time"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/ipam/block"
)

// FreeRested frees the addresses of blocks that have rested for the cooldown. It returns how long the first of those
// that still rest has to; 0 if none does. A block that is not up to date is read again.
func (c *Client) FreeRested(ctx context.Context, blocks ...*v3.IPAMBlock) (next time.Duration, err error) {
	blocks = slices.DeleteFunc(slices.Clone(blocks), func(b *v3.IPAMBlock) bool {
		return !slices.ContainsFunc(b.Spec.Attributes,
			func(a v3.AllocationAttribute) bool { return a.ReleasedAt != nil })
	})
	if len(blocks) == 0 {
		return 0, nil
	}
	if err := c.enter(ctx); err != nil {
		return 0, err
	}
	defer c.leave()
	cooldown, err := c.cooldown(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, obj := range blocks {
		b, err := block.Parse(obj)
		if err != nil {
			continue // nothing is assigned from it
		}
		if len(b.Rested(c.now(), cooldown)) > 0 {
			free := func(b block.Block) bool { return b.FreeRested(c.now(), cooldown) }
			errs = append(errs, c.change(ctx, b, free, func() {}))
		}
		left := b.NextRested(c.now(), cooldown)
		if left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	return next, errors.Join(errs...)
}
