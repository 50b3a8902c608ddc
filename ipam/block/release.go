package block

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// With a cooldown, an address that is released rests: it stays among the allocations of its block, with an attribute
// that holds only the time of the release. That is Calico's format. The next write of the block after the cooldown
// frees the address. The collector of kube-controllers frees the addresses of blocks that nobody writes.
//
// The times are those of the releasing node's clock. If the clocks of two nodes differ, an address that one released
// and the other assigns rests that much shorter or longer.

// MaxCooldown is the longest cooldown. A time of release that is further in the future is not believed: it comes from a
// wrong clock, and the address would never be free again.
const MaxCooldown = 20 * time.Minute

// Release frees the allocations that drop accepts and returns their leases.
func (b Block) Release(drop func(Allocation) bool) []Lease {
	var released []Lease
	var addrs []netip.Addr
	for _, a := range b.Allocations(drop) {
		addrs, released = append(addrs, a.Addr), append(released, a.Lease)
	}
	b.Vacate(addrs...)
	return released
}

// Rest releases the allocations that drop accepts and returns their leases. The addresses rest.
func (b Block) Rest(drop func(Allocation) bool, now time.Time) []Lease {
	dropped := b.Allocations(drop)
	if len(dropped) == 0 {
		return nil
	}
	// Stored times are whole seconds. If they were rounded down, the address would rest too short. Within a block they
	// do not decrease.
	at := now.Add(time.Second - 1).Truncate(time.Second)
	for _, a := range b.Spec.Attributes {
		if a.ReleasedAt != nil && a.ReleasedAt.After(at) && a.ReleasedAt.Sub(now) <= MaxCooldown {
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

// ReleasedAt returns when an address that rests was released. It returns false if the address does not rest.
func (b Block) ReleasedAt(addr netip.Addr) (time.Time, bool) { return b.releasedAt(b.ordinal(addr)) }

func (b Block) releasedAt(ordinal int) (time.Time, bool) {
	attr := b.Spec.Allocations[ordinal]
	if attr == nil || b.Spec.Attributes[*attr].ReleasedAt == nil {
		return time.Time{}, false
	}
	return b.Spec.Attributes[*attr].ReleasedAt.Time, true
}

// Rested returns the addresses that have rested for the cooldown, the one that was released first first.
func (b Block) Rested(now time.Time, cooldown time.Duration) []netip.Addr {
	type rest struct {
		addr     netip.Addr
		released time.Time
	}
	var rested []rest
	for ordinal := range b.Spec.Allocations {
		at, rests := b.releasedAt(ordinal)
		age := now.Sub(at)
		if rests && (cooldown == 0 || age >= cooldown || age < -MaxCooldown) {
			rested = append(rested, rest{b.addr(ordinal), at})
		}
	}
	slices.SortStableFunc(rested, func(a, b rest) int {
		return cmp.Compare(a.released.UnixNano(),
			b.released.UnixNano())
	})
	addrs := make([]netip.Addr, len(rested))
	for i, r := range rested {
		addrs[i] = r.addr
	}
	return addrs
}

// Resting returns the number of addresses that rest, for however long.
func (b Block) Resting() int {
	count := 0
	for ordinal := range b.Spec.Allocations {
		_, rests := b.releasedAt(ordinal)
		if rests {
			count++
		}
	}
	return count
}

// NextRested returns how long the address that ends its rest first still rests; 0 if none rests.
func (b Block) NextRested(now time.Time, cooldown time.Duration) time.Duration {
	next := time.Duration(0)
	for ordinal := range b.Spec.Allocations {
		at, rests := b.releasedAt(ordinal)
		left := at.Add(cooldown).Sub(now)
		if rests && left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	return next
}

// Assignable returns the addresses that can be assigned, in the order in which they are assigned.
func (b Block) Assignable(now time.Time, cooldown time.Duration) []netip.Addr {
	addrs := make([]netip.Addr, 0, len(b.Spec.Unallocated))
	for _, ordinal := range b.Spec.Unallocated {
		addrs = append(addrs, b.addr(ordinal))
	}
	return append(addrs, b.Rested(now, cooldown)...)
}

// FreeRested frees the addresses that have rested for the cooldown. It reports whether there are any.
func (b Block) FreeRested(now time.Time, cooldown time.Duration) bool {
	rested := b.Rested(now, cooldown)
	b.Vacate(rested...)
	return len(rested) > 0
}

// Vacate frees addresses. They go to the end of the queue, so that an address is assigned again as late as possible.
func (b Block) Vacate(addrs ...netip.Addr) {
	for _, addr := range addrs {
		ordinal := b.ordinal(addr)
		b.Spec.Allocations[ordinal] = nil
		b.Spec.Unallocated = append(b.Spec.Unallocated, ordinal)
		delete(b.Spec.SequenceNumberForAllocation, strconv.Itoa(ordinal))
	}
	if len(addrs) > 0 {
		b.dropUnusedAttributes()
	}
}

// dropUnusedAttributes removes the attributes that no allocation points to, and renumbers the others.
func (b Block) dropUnusedAttributes() {
	index := make([]int, len(b.Spec.Attributes))
	for i := range index {
		index[i] = -1
	}
	kept := []v3.AllocationAttribute{}
	for ordinal, attr := range b.Spec.Allocations {
		if attr == nil {
			continue
		}
		if index[*attr] < 0 {
			index[*attr] = len(kept)
			kept = append(kept, b.Spec.Attributes[*attr])
		}
		moved := index[*attr]
		b.Spec.Allocations[ordinal] = &moved
	}
	b.Spec.Attributes = kept
}
