package block

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// ErrInUse means that the address that was asked for belongs to another handle.
var ErrInUse = errors.New("address in use")

// Lease is one address as it was assigned.
type Lease struct {
	Handle string
	Addr   netip.Addr
	// Sequence identifies this assignment of the address. A later assignment, also to the same handle, has another
	// number. It comes from the block's sequenceNumberForAllocation.
	Sequence uint64
}

// Allocation is one assigned address of a block, with the attributes that its owner gave.
type Allocation struct {
	Lease
	Attributes map[string]string
}

// HeldBy reports whether the allocation belongs to the handle and was made by a node, or by an unknown node: the oldest
// allocations of Calico do not name one. The node is compared because another node can guess the handles of this one.
func (a Allocation) HeldBy(node, handle string) bool {
	of, known := a.Attributes[v3.AttributeNode]
	return a.Handle == handle && (of == node || !known)
}

// Allocations returns the assigned addresses of a block in their order. The attribute maps are the block's own. It
// fails with ErrDamaged.
func Allocations(b *v3.IPAMBlock) ([]Allocation, error) {
	parsed, err := Parse(b)
	if err != nil {
		return nil, err
	}
	return parsed.Allocations(func(Allocation) bool { return true }), nil
}

// Allocations returns the allocations that keep accepts, in the order of their addresses. Addresses that rest belong to
// nobody and are left out.
func (b Block) Allocations(keep func(Allocation) bool) []Allocation {
	var found []Allocation
	for ordinal, attr := range b.Spec.Allocations {
		_, rests := b.releasedAt(ordinal)
		if attr == nil || rests {
			continue
		}
		a := Allocation{Lease: b.lease(ordinal), Attributes: b.Spec.Attributes[*attr].ActiveOwnerAttrs}
		if keep(a) {
			found = append(found, a)
		}
	}
	return found
}

// HeldBy returns the allocations that the handle holds on a node.
func (b Block) HeldBy(node, handle string) []Allocation {
	return b.Allocations(func(a Allocation) bool { return a.HeldBy(node, handle) })
}

// Assign assigns the handle the address that has been free for longest, among those that may accepts. It returns false
// if there is none.
func (b Block) Assign(handle string, attributes map[string]string, may func(netip.Addr) bool) (Lease, bool) {
	at := slices.IndexFunc(b.Spec.Unallocated, func(ordinal int) bool { return may(b.addr(ordinal)) })
	if at < 0 {
		return Lease{}, false
	}
	return b.assignAt(at, handle, attributes), true
}

// AssignAddr assigns the handle one address of the block, or fails with ErrInUse.
func (b Block) AssignAddr(addr netip.Addr, handle string, attributes map[string]string) (Lease, error) {
	at := slices.Index(b.Spec.Unallocated, b.ordinal(addr))
	if at < 0 {
		return Lease{}, fmt.Errorf("assign %s to %s: %w by %s", addr, handle, ErrInUse, b.Owner(addr))
	}
	return b.assignAt(at, handle, attributes), nil
}

// assignAt assigns the address at a position in the list of unallocated ordinals.
func (b Block) assignAt(at int, handle string, attributes map[string]string) Lease {
	ordinal := b.Spec.Unallocated[at]
	b.Spec.Unallocated = slices.Delete(b.Spec.Unallocated, at, at+1)
	index := slices.IndexFunc(b.Spec.Attributes, func(a v3.AllocationAttribute) bool {
		return a.HandleID != nil && *a.HandleID == handle && maps.Equal(a.ActiveOwnerAttrs, attributes)
	})
	if index < 0 {
		index = len(b.Spec.Attributes)
		b.Spec.Attributes = append(b.Spec.Attributes, v3.AllocationAttribute{
			HandleID: &handle, ActiveOwnerAttrs: maps.Clone(attributes)})
	}
	b.Spec.Allocations[ordinal] = &index
	if b.Spec.SequenceNumberForAllocation == nil {
		b.Spec.SequenceNumberForAllocation = map[string]uint64{}
	}
	b.Spec.SequenceNumberForAllocation[strconv.Itoa(ordinal)] = b.Spec.SequenceNumber
	return b.lease(ordinal)
}

// Owner describes the owner of an address, for messages. It is empty for a free address.
func (b Block) Owner(addr netip.Addr) string {
	ordinal := b.ordinal(addr)
	attr := b.Spec.Allocations[ordinal]
	if attr == nil {
		return ""
	}
	owner := b.handleAt(ordinal)
	if owner == "" {
		owner = "an owner without a handle"
	}
	attributes := b.Spec.Attributes[*attr].ActiveOwnerAttrs
	if pod := attributes[v3.AttributePod]; pod != "" {
		owner = fmt.Sprintf("pod %s/%s (%s)", attributes[v3.AttributeNamespace], pod, owner)
	}
	if node := attributes[v3.AttributeNode]; node != "" {
		owner += " on node " + node
	}
	return owner
}

func (b Block) handleAt(ordinal int) string {
	attr := b.Spec.Allocations[ordinal]
	if attr == nil || b.Spec.Attributes[*attr].HandleID == nil {
		return ""
	}
	return *b.Spec.Attributes[*attr].HandleID
}

func (b Block) lease(ordinal int) Lease {
	return Lease{
		Handle:   b.handleAt(ordinal),
		Addr:     b.addr(ordinal),
		Sequence: b.Spec.SequenceNumberForAllocation[strconv.Itoa(ordinal)],
	}
}
