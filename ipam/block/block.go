package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// ErrDamaged means that a block contradicts itself. Such a block gives no addresses, and no other block may overlap it.
var ErrDamaged = errors.New("the block contradicts itself")

// Block is an IPAMBlock with its parsed CIDR. Its methods change the resource in place.
//
// Invariant: every ordinal, which is the position of an address in the block, is either in Spec.Allocations, where it
// points to an attribute, or once in Spec.Unallocated.
type Block struct {
	*v3.IPAMBlock
	CIDR netip.Prefix
}

// Parse checks a block and fails with ErrDamaged. It does not change its argument. The name of the block determines the
// CIDR, because a name cannot be changed. If the list of unallocated ordinals contradicts the allocations, the result
// has a corrected list.
func Parse(obj *v3.IPAMBlock) (Block, error) {
	if err := obj.Damage(); err != nil {
		return Block{}, fmt.Errorf("IPAMBlock %s: %w: %w", obj.Name, ErrDamaged, err)
	}
	cidr, _ := v3.BlockCIDR(obj.Name)
	free := freeOrdinals(&obj.Spec)
	if !slices.Equal(free, obj.Spec.Unallocated) {
		repaired := *obj
		repaired.Spec.Unallocated = free
		obj = &repaired
	}
	return Block{IPAMBlock: obj, CIDR: cidr}, nil
}

// freeOrdinals returns the ordinals that are not allocated. It keeps the order of the ones that are listed correctly.
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

// New returns an empty block of a node. Sequence numbers start at the time of creation. So an address of a block that
// was deleted and made again gets a number that it never had before.
func New(cidr netip.Prefix, node string, now time.Time) Block {
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
	b := Block{IPAMBlock: obj, CIDR: cidr}
	b.SetNode(node, now)
	return b
}

// Copy returns a private copy, which can be changed and written.
func (b Block) Copy() Block { return Block{IPAMBlock: b.DeepCopy(), CIDR: b.CIDR} }

// nodeAffinity precedes the name of the node in spec.affinity. Blocks for load balancers have "virtual:" there.
const nodeAffinity = "host:"

// NodeOf returns the node that a block has its affinity to, or "".
func NodeOf(b *v3.IPAMBlock) string {
	node, is := strings.CutPrefix(b.Spec.Affinity, nodeAffinity)
	if !is {
		return ""
	}
	return node
}

// Node returns the node that the block has its affinity to, or "".
func (b Block) Node() string { return NodeOf(b.IPAMBlock) }

// SetNode gives the block to a node, or with "" to none.
func (b Block) SetNode(node string, now time.Time) {
	if node == "" {
		b.Spec.Affinity, b.Spec.AffinityClaimTime = "", nil
		return
	}
	claimed := metav1.NewTime(now)
	b.Spec.Affinity, b.Spec.AffinityClaimTime = nodeAffinity+node, &claimed
}

// Provisional reports whether a node is claiming the block, or Calico is deleting it. Nothing may be assigned from it
// then.
func (b Block) Provisional() bool { return b.Spec.Deleted }

// ForLoadBalancers reports whether the block belongs to something that is not a node.
func (b Block) ForLoadBalancers() bool { return b.Spec.Affinity != "" && b.Node() == "" }

// Free returns the number of addresses that are neither assigned nor resting.
func (b Block) Free() int { return len(b.Spec.Unallocated) }

// Empty reports whether all addresses are free.
func (b Block) Empty() bool { return len(b.Spec.Unallocated) == len(b.Spec.Allocations) }

func (b Block) addr(ordinal int) netip.Addr { return nth(b.CIDR.Addr(), uint64(ordinal)) }

func (b Block) ordinal(addr netip.Addr) int { return int(offset(b.CIDR.Addr(), addr)) }

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

// offset returns the number of addresses from base to addr, in the low 64 bits.
func offset(base, addr netip.Addr) uint64 {
	a, b := addr.As16(), base.As16()
	return binary.BigEndian.Uint64(a[8:]) - binary.BigEndian.Uint64(b[8:])
}
