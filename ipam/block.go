package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// block is a stored IPAMBlock with its CIDR parsed. Its methods change the resource in
// place and do nothing else. Invariant: every ordinal is either in allocations, pointing
// at an attribute, or once in unallocated.
type block struct {
	*v3.IPAMBlock
	cidr netip.Prefix
}

// Allocation is one assigned address in a block, with what its owner said of itself.
type Allocation struct {
	Lease
	Attributes map[string]string
}

// Allocations lists the assigned addresses of a block in order. The attribute maps are
// the block's own. It fails when the block contradicts itself.
func Allocations(b *v3.IPAMBlock) ([]Allocation, error) {
	parsed, err := parseBlock(b)
	if err != nil {
		return nil, err
	}
	return parsed.allocations(func(Allocation) bool { return true }), nil
}

// AffineHost returns the node that a block has its affinity to, or "".
func AffineHost(b *v3.IPAMBlock) string {
	if host, ok := strings.CutPrefix(b.Spec.Affinity, hostAffinity); ok {
		return host
	}
	return ""
}

// hostAffinity precedes the node's name in spec.affinity ("virtual:" marks blocks for
// load balancers).
const hostAffinity = "host:"

// errDamaged means that a block contradicts itself. Such a block gives no addresses, but no other block may overlap it.
var errDamaged = errors.New("the block contradicts itself")

// parseBlock checks a block, and fails with errDamaged. It does not change the block. The block's name
// determines its range, because nobody can change a name. In the result, an unallocated list that
// contradicts the allocations is replaced.
func parseBlock(obj *v3.IPAMBlock) (block, error) {
	if err := obj.Damage(); err != nil {
		return block{}, fmt.Errorf("IPAMBlock %s: %w: %w", obj.Name, errDamaged, err)
	}
	cidr, _ := v3.BlockCIDR(obj.Name)
	free := freeOrdinals(&obj.Spec)
	if !slices.Equal(free, obj.Spec.Unallocated) {
		repaired := *obj
		repaired.Spec.Unallocated = free
		obj = &repaired
	}
	return block{IPAMBlock: obj, cidr: cidr}, nil
}

// freeOrdinals returns what unallocated should be, in its order as far as it is right.
func freeOrdinals(spec *v3.IPAMBlockSpec) []int {
	free := make([]int, 0, len(spec.Allocations))
	seen := make([]bool, len(spec.Allocations))
	for _, ordinal := range spec.Unallocated {
		if ordinal >= 0 && ordinal < len(seen) && !seen[ordinal] && spec.Allocations[ordinal] == nil {
			seen[ordinal] = true
			free = append(free, ordinal)
		}
	}
	for ordinal, attr := range spec.Allocations {
		if attr == nil && !seen[ordinal] {
			free = append(free, ordinal)
		}
	}
	return free
}

// newBlock makes an empty block. Sequence numbers start at the time of creation, so that
// an address of a block that was deleted and made again gets a number not seen before.
func newBlock(cidr netip.Prefix, host string, now time.Time) block {
	size := 1 << (cidr.Addr().BitLen() - cidr.Bits())
	obj := &v3.IPAMBlock{
		ObjectMeta: metav1.ObjectMeta{Name: v3.BlockName(cidr)},
		Spec: v3.IPAMBlockSpec{
			CIDR:                        cidr.String(),
			Allocations:                 make([]*int, size),
			Unallocated:                 make([]int, size),
			Attributes:                  []v3.AllocationAttribute{},
			SequenceNumber:              uint64(now.UnixNano()),
			SequenceNumberForAllocation: map[string]uint64{},
		},
	}
	for ordinal := range size {
		obj.Spec.Unallocated[ordinal] = ordinal
	}
	b := block{IPAMBlock: obj, cidr: cidr}
	b.setAffinity(host, now)
	return b
}

// copy makes a private copy, to change and write.
func (b block) copy() block { return block{IPAMBlock: b.DeepCopy(), cidr: b.cidr} }

func (b block) family() Family { return FamilyOf(b.cidr.Addr()) }

func (b block) host() string { return AffineHost(b.IPAMBlock) }

// setAffinity gives the block to a node, or with "" to nobody.
func (b block) setAffinity(host string, now time.Time) {
	if host == "" {
		b.Spec.Affinity, b.Spec.AffinityClaimTime = "", nil
		return
	}
	claimed := metav1.NewTime(now)
	b.Spec.Affinity, b.Spec.AffinityClaimTime = hostAffinity+host, &claimed
}

// provisional reports whether the block is being claimed, or (by Calico) deleted. Nothing may be assigned from it then.
func (b block) provisional() bool { return b.Spec.Deleted }

// reserved says that the block belongs to something that is not a node.
func (b block) reserved() bool { return b.Spec.Affinity != "" && b.host() == "" }

func (b block) free() int { return len(b.Spec.Unallocated) }

func (b block) empty() bool { return len(b.Spec.Unallocated) == len(b.Spec.Allocations) }

// assign assigns the handle the address that has been free for longest, among those that may accepts.
func (b block) assign(handle string, attributes map[string]string, may func(netip.Addr) bool) (Lease, bool) {
	at := slices.IndexFunc(b.Spec.Unallocated, func(ordinal int) bool { return may(b.addr(ordinal)) })
	if at < 0 {
		return Lease{}, false
	}
	ordinal := b.Spec.Unallocated[at]
	b.Spec.Unallocated = slices.Delete(b.Spec.Unallocated, at, at+1)
	return b.take(ordinal, handle, attributes), true
}

// assignAddr assigns the handle one address of the block, or fails with ErrInUse.
func (b block) assignAddr(addr netip.Addr, handle string, attributes map[string]string) (Lease, error) {
	ordinal := b.ordinal(addr)
	at := slices.Index(b.Spec.Unallocated, ordinal)
	if at < 0 {
		return Lease{}, fmt.Errorf("assign %s to %s: %w by %s", addr, handle, ErrInUse, b.ownerAt(ordinal))
	}
	b.Spec.Unallocated = slices.Delete(b.Spec.Unallocated, at, at+1)
	return b.take(ordinal, handle, attributes), nil
}

func (b block) take(ordinal int, handle string, attributes map[string]string) Lease {
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

// allocations lists what keep accepts, in the order of addresses. Addresses that rest are not allocated to anybody.
func (b block) allocations(keep func(Allocation) bool) []Allocation {
	var found []Allocation
	for ordinal, attr := range b.Spec.Allocations {
		if _, rests := b.releasedAt(ordinal); attr == nil || rests {
			continue
		}
		a := Allocation{Lease: b.lease(ordinal), Attributes: b.Spec.Attributes[*attr].ActiveOwnerAttrs}
		if keep(a) {
			found = append(found, a)
		}
	}
	return found
}

// held returns the addresses that the handle holds on a node.
func (b block) held(node, handle string) []Allocation {
	return b.allocations(func(a Allocation) bool { return a.heldOn(node, handle) })
}

// heldOn reports whether the allocation is the handle's and was made by a node, or by an unknown node: the oldest
// allocations of Calico do not name one. The node is checked because another node can guess the handles of this one.
func (a Allocation) heldOn(node, handle string) bool {
	of, known := a.Attributes[AttrNode]
	return a.Handle == handle && (of == node || !known)
}

// release frees the allocations that drop accepts and returns them.
func (b block) release(drop func(Allocation) bool) []Lease {
	var released []Lease
	var ordinals []int
	for _, a := range b.allocations(drop) {
		ordinals, released = append(ordinals, b.ordinal(a.Addr)), append(released, a.Lease)
	}
	b.vacate(ordinals...)
	return released
}

func (b block) dropUnusedAttributes() {
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

func (b block) handleAt(ordinal int) string {
	attr := b.Spec.Allocations[ordinal]
	if attr == nil || b.Spec.Attributes[*attr].HandleID == nil {
		return ""
	}
	return *b.Spec.Attributes[*attr].HandleID
}

// ownerAt describes the owner of an address, for messages. It is empty for a free address.
func (b block) ownerAt(ordinal int) string {
	attr := b.Spec.Allocations[ordinal]
	if attr == nil {
		return ""
	}
	owner := b.handleAt(ordinal)
	if owner == "" {
		owner = "an owner without a handle"
	}
	attributes := b.Spec.Attributes[*attr].ActiveOwnerAttrs
	if pod := attributes[AttrPod]; pod != "" {
		owner = fmt.Sprintf("pod %s/%s (%s)", attributes[AttrNamespace], pod, owner)
	}
	if node := attributes[AttrNode]; node != "" {
		owner += " on node " + node
	}
	return owner
}

func (b block) addr(ordinal int) netip.Addr { return nth(b.cidr.Addr(), uint64(ordinal)) }

func (b block) lease(ordinal int) Lease {
	return Lease{
		Handle:   b.handleAt(ordinal),
		Addr:     b.addr(ordinal),
		Sequence: b.Spec.SequenceNumberForAllocation[strconv.Itoa(ordinal)],
	}
}

func (b block) ordinal(addr netip.Addr) int { return int(offset(b.cidr.Addr(), addr)) }

// nth returns the address n after base, where base is aligned to more than n.
func nth(base netip.Addr, n uint64) netip.Addr {
	if base.Is4() {
		octets := base.As4()
		binary.BigEndian.PutUint32(octets[:], binary.BigEndian.Uint32(octets[:])+uint32(n))
		return netip.AddrFrom4(octets)
	}
	octets := base.As16()
	binary.BigEndian.PutUint64(octets[8:], binary.BigEndian.Uint64(octets[8:])+n)
	return netip.AddrFrom16(octets)
}

// offset returns how far addr lies after base, in the low 64 bits.
func offset(base, addr netip.Addr) uint64 {
	a, b := addr.As16(), base.As16()
	return binary.BigEndian.Uint64(a[8:]) - binary.BigEndian.Uint64(b[8:])
}
