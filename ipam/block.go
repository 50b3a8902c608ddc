package ipam

import (
	"encoding/binary"
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

// maxHostBits bounds the size of a block that is accepted (a /20 of IPv4, Calico's largest).
const maxHostBits = 12

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

// AffineHost gives the node that a block has its affinity to, or "".
func AffineHost(b *v3.IPAMBlock) string {
	if host, ok := strings.CutPrefix(b.Spec.Affinity, hostAffinity); ok {
		return host
	}
	return ""
}

// hostAffinity precedes the node's name in spec.affinity ("virtual:" marks blocks for
// load balancers).
const hostAffinity = "host:"

// parseBlock checks a block, which it does not change. An unallocated list that
// contradicts the allocations is replaced in the result.
func parseBlock(obj *v3.IPAMBlock) (block, error) {
	cidr, err := netip.ParsePrefix(obj.Spec.CIDR)
	if err != nil {
		return block{}, fmt.Errorf("IPAMBlock %s: spec.cidr: %w", obj.Name, err)
	}
	hostBits := cidr.Addr().BitLen() - cidr.Bits()
	if cidr != cidr.Masked() || hostBits > maxHostBits || len(obj.Spec.Allocations) != 1<<hostBits {
		return block{}, fmt.Errorf("IPAMBlock %s: %d allocations do not fit %s",
			obj.Name, len(obj.Spec.Allocations), cidr)
	}
	for ordinal, attr := range obj.Spec.Allocations {
		if attr != nil && (*attr < 0 || *attr >= len(obj.Spec.Attributes)) {
			return block{}, fmt.Errorf("IPAMBlock %s: allocation %d has attribute %d of %d",
				obj.Name, ordinal, *attr, len(obj.Spec.Attributes))
		}
	}
	free := freeOrdinals(&obj.Spec)
	if !slices.Equal(free, obj.Spec.Unallocated) {
		repaired := *obj
		repaired.Spec.Unallocated = free
		obj = &repaired
	}
	return block{IPAMBlock: obj, cidr: cidr}, nil
}

// freeOrdinals gives what unallocated should be, in its order as far as it is right.
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
		ObjectMeta: metav1.ObjectMeta{Name: BlockName(cidr)},
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

// reserved says that the block belongs to something that is not a node.
func (b block) reserved() bool { return b.Spec.Affinity != "" && b.host() == "" }

func (b block) empty() bool { return len(b.Spec.Unallocated) == len(b.Spec.Allocations) }

func (b block) free() int { return len(b.Spec.Unallocated) }

// assign gives the handle the address that has been free for longest.
func (b block) assign(handle string, attributes map[string]string) (Lease, bool) {
	if b.free() == 0 {
		return Lease{}, false
	}
	ordinal := b.Spec.Unallocated[0]
	b.Spec.Unallocated = b.Spec.Unallocated[1:]
	return b.take(ordinal, handle, attributes), true
}

// assignAddr gives the handle one address of the block, or fails with ErrInUse.
func (b block) assignAddr(addr netip.Addr, handle string, attributes map[string]string) (Lease, error) {
	ordinal := b.ordinal(addr)
	at := slices.Index(b.Spec.Unallocated, ordinal)
	if at < 0 {
		return Lease{}, fmt.Errorf("assign %s to %s: %w by %s", addr, handle, ErrInUse, b.handleAt(ordinal))
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

// allocations lists what keep accepts, in the order of addresses.
func (b block) allocations(keep func(Allocation) bool) []Allocation {
	var found []Allocation
	for ordinal, attr := range b.Spec.Allocations {
		if attr == nil {
			continue
		}
		a := Allocation{Lease: b.lease(ordinal), Attributes: b.Spec.Attributes[*attr].ActiveOwnerAttrs}
		if keep(a) {
			found = append(found, a)
		}
	}
	return found
}

// held lists what the handle holds.
func (b block) held(handle string) []Allocation {
	return b.allocations(func(a Allocation) bool { return a.Handle == handle })
}

// release frees the allocations that drop accepts and returns them. The addresses go to
// the end of the queue, so that one is not given out again sooner than need be.
func (b block) release(drop func(Allocation) bool) []Lease {
	var released []Lease
	for _, a := range b.allocations(drop) {
		ordinal := b.ordinal(a.Addr)
		b.Spec.Allocations[ordinal] = nil
		b.Spec.Unallocated = append(b.Spec.Unallocated, ordinal)
		delete(b.Spec.SequenceNumberForAllocation, strconv.Itoa(ordinal))
		released = append(released, a.Lease)
	}
	if len(released) > 0 {
		b.dropUnusedAttributes()
	}
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

func (b block) lease(ordinal int) Lease {
	return Lease{
		Handle:   b.handleAt(ordinal),
		Addr:     nth(b.cidr.Addr(), uint64(ordinal)),
		Sequence: b.Spec.SequenceNumberForAllocation[strconv.Itoa(ordinal)],
	}
}

func (b block) ordinal(addr netip.Addr) int { return int(offset(b.cidr.Addr(), addr)) }

// nth gives the address n after base, where base is aligned to more than n.
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

// offset gives how far addr lies after base, in the low 64 bits.
func offset(base, addr netip.Addr) uint64 {
	a, b := addr.As16(), base.As16()
	return binary.BigEndian.Uint64(a[8:]) - binary.BigEndian.Uint64(b[8:])
}
