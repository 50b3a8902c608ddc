package block

import (
	"hash/fnv"
	"net/netip"

	"github.com/maneki-net/maneki/api/ipreservation"
)

// maxCandidates bounds how many blocks of one pool are considered: a larger pool, which
// only IPv6 can be, is used from its beginning.
const maxCandidates = 1 << 32

// Space finds the parts of a pool that no block covers. It must know the CIDRs of all blocks, also of those that cannot
// be used: an address must never be in two blocks.
type Space struct {
	base  netip.Addr
	bits  int    // prefix length of a block
	shift int    // log2 of a block's size in addresses
	count uint64 // candidates in the pool
	taken map[uint64]bool
}

// NewSpace returns the space of a pool. existing are the CIDRs of all blocks, and bits is the prefix length of the
// pool's blocks, which is not less than that of the pool.
func NewSpace(pool netip.Prefix, bits int, existing []netip.Prefix) *Space {
	s := &Space{
		base:  pool.Addr(),
		bits:  bits,
		shift: pool.Addr().BitLen() - bits,
		count: maxCandidates,
		taken: map[uint64]bool{},
	}
	if log2 := bits - pool.Bits(); log2 < 32 {
		s.count = 1 << log2
	}
	for _, cidr := range existing {
		switch {
		case !pool.Overlaps(cidr):
		case cidr.Bits() <= pool.Bits():
			s.count = 0
		default:
			s.mark(cidr)
		}
	}
	return s
}

// mark marks the candidates that a block covers. The block may have another size than the pool's blocks.
func (s *Space) mark(cidr netip.Prefix) {
	first := offset(s.base, cidr.Addr()) >> s.shift
	covered := uint64(1)
	if larger := s.bits - cidr.Bits(); larger > 0 {
		covered = 1 << larger
	}
	for index := first; index < first+covered; index++ {
		s.taken[index] = true
	}
}

// Claim takes the candidate that contains an address. It returns false if that is taken already.
func (s *Space) Claim(addr netip.Addr) (netip.Prefix, bool) {
	index := offset(s.base, addr) >> s.shift
	if index >= s.count || s.taken[index] {
		return netip.Prefix{}, false
	}
	s.taken[index] = true
	return s.candidate(index), true
}

// Pick takes a free candidate that is not reserved as a whole. The search begins at a position that depends on the
// node, so that nodes which claim at the same time seldom pick the same. It returns false when the pool is full.
func (s *Space) Pick(node string, reserved ipreservation.Set) (netip.Prefix, bool) {
	if s.count == 0 {
		return netip.Prefix{}, false
	}
	hash := fnv.New64a()
	hash.Write([]byte(node))
	start := hash.Sum64() % s.count
	for i := uint64(0); i < s.count; i++ {
		index := (start + i) % s.count
		if s.taken[index] {
			continue
		}
		around, is := reserved.Around(s.candidate(index))
		if !is {
			s.taken[index] = true
			return s.candidate(index), true
		}
		// A pool of IPv6 may have too many reserved candidates to look at each.
		i += s.last(around) - index
	}
	return netip.Prefix{}, false
}

// last returns the index of the last candidate in a network that contains a candidate.
func (s *Space) last(net netip.Prefix) uint64 {
	larger := s.bits - net.Bits()
	if larger >= 32 || net.Addr().Less(s.base) {
		return s.count - 1
	}
	return min(offset(s.base, net.Addr())>>s.shift+1<<larger, s.count) - 1
}

func (s *Space) candidate(index uint64) netip.Prefix {
	return netip.PrefixFrom(nth(s.base, index<<s.shift), s.bits)
}
