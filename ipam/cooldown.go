package ipam

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// With a cooldown, an address that is released rests: it stays among the allocations of its block, with an attribute
// that says nothing but when it was released. That is Calico's format. The next write of the block that comes after the
// cooldown frees the address. The collector frees the addresses of blocks that nobody writes.
//
// The times are of the clocks of those who release. If the clocks of two nodes differ, an address that one released and
// the other assigns rests that much shorter or longer.

// farFuture is how far in the future a time of release is believed. It is the longest cooldown. A clock that is further
// ahead is wrong, and the address would never be free again.
const farFuture = 20 * time.Minute

// releasedAt returns when an address that rests was released.
func (b block) releasedAt(ordinal int) (time.Time, bool) {
	attr := b.Spec.Allocations[ordinal]
	if attr == nil || b.Spec.Attributes[*attr].ReleasedAt == nil {
		return time.Time{}, false
	}
	return b.Spec.Attributes[*attr].ReleasedAt.Time, true
}

// rested returns the places of the addresses that have rested for long enough, the first released first.
func (b block) rested(now time.Time, cooldown time.Duration) []int {
	var rested []int
	released := map[int]time.Time{}
	for ordinal := range b.Spec.Allocations {
		at, rests := b.releasedAt(ordinal)
		if age := now.Sub(at); rests && (cooldown == 0 || age >= cooldown || age < -farFuture) {
			rested, released[ordinal] = append(rested, ordinal), at
		}
	}
	slices.SortStableFunc(rested, func(a, b int) int { return cmp.Compare(released[a].UnixNano(), released[b].UnixNano()) })
	return rested
}

// resting counts the addresses that were released and are not free.
func (b block) resting() int {
	count := 0
	for ordinal := range b.Spec.Allocations {
		if _, rests := b.releasedAt(ordinal); rests {
			count++
		}
	}
	return count
}

// vacant returns the places of the addresses that can be assigned, in the order in which they are.
func (b block) vacant(now time.Time, cooldown time.Duration) []int {
	return slices.Concat(b.Spec.Unallocated, b.rested(now, cooldown))
}

// wake frees the addresses that have rested for long enough, and reports whether there are any.
func (b block) wake(now time.Time, cooldown time.Duration) bool {
	rested := b.rested(now, cooldown)
	b.vacate(rested...)
	return len(rested) > 0
}

// rest releases the allocations that drop accepts and returns them. The addresses rest.
func (b block) rest(drop func(Allocation) bool, now time.Time) []Lease {
	dropped := b.allocations(drop)
	if len(dropped) == 0 {
		return nil
	}
	// Stored times are whole seconds; rounded down, the address would rest too short. Within a block they do not
	// decrease.
	at := now.Add(time.Second - 1).Truncate(time.Second)
	for _, a := range b.Spec.Attributes {
		if a.ReleasedAt != nil && a.ReleasedAt.After(at) && a.ReleasedAt.Sub(now) <= farFuture {
			at = a.ReleasedAt.Time
		}
	}
	index, released := len(b.Spec.Attributes), metav1.NewTime(at)
	b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{ReleasedAt: &released})
	var leases []Lease
	for _, a := range dropped {
		b.Spec.Allocations[b.ordinal(a.Addr)] = &index
		leases = append(leases, a.Lease)
	}
	b.dropUnusedAttributes()
	return leases
}

// vacate frees addresses by their places. They go to the end of the queue, so that one is not given out again sooner than
// need be.
func (b block) vacate(ordinals ...int) {
	for _, ordinal := range ordinals {
		b.Spec.Allocations[ordinal] = nil
		b.Spec.Unallocated = append(b.Spec.Unallocated, ordinal)
		delete(b.Spec.SequenceNumberForAllocation, strconv.Itoa(ordinal))
	}
	if len(ordinals) > 0 {
		b.dropUnusedAttributes()
	}
}

// FreeRested frees the addresses of blocks that have rested for the cooldown. It returns how long the first of those
// that still rest has to; 0 if none does. A block that is not up to date is read again.
func (c *Client) FreeRested(ctx context.Context, blocks ...*v3.IPAMBlock) (next time.Duration, err error) {
	blocks = slices.DeleteFunc(slices.Clone(blocks), func(b *v3.IPAMBlock) bool {
		return !slices.ContainsFunc(b.Spec.Attributes, func(a v3.AllocationAttribute) bool { return a.ReleasedAt != nil })
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
		b, err := parseBlock(obj)
		if err != nil {
			continue // nothing is assigned from it
		}
		if len(b.rested(c.now(), cooldown)) > 0 {
			errs = append(errs, c.change(ctx, b, func(b block) bool { return b.wake(c.now(), cooldown) }, func() {}))
		}
		for ordinal := range b.Spec.Allocations {
			at, rests := b.releasedAt(ordinal)
			if left := at.Add(cooldown).Sub(c.now()); rests && left > 0 && (next == 0 || left < next) {
				next = left
			}
		}
	}
	return next, errors.Join(errs...)
}
