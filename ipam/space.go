package ipam

import (
	"hash/fnv"
	"net/netip"

	"github.com/maneki-net/maneki/api/ipreservation"
)

// maxCandidates bounds how many blocks of one pool are considered: a larger pool, which
// only IPv6 can be, is used from its beginning.
const maxCandidates = 1 << 32

// space finds the parts of one pool that no block covers. It is built from the CIDRs of
// all blocks that exist, those that cannot be used included: an address must never be in two.
type space struct {
	base  netip.Addr
	bits  int    // prefix length of a block
	shift int    // log2 of a block's size in addresses
	count uint64 // candidates in the pool
	taken map[uint64]bool
}

// newSpace makes the space of a pool, which must be at least as large as a block.
func newSpace(pool *Pool, existing []netip.Prefix) *space {
	bits := pool.blockBits()
	s := &space{
		base:  pool.CIDR.Addr(),
		bits:  bits,
		shift: pool.Family().bits() - bits,
		count: maxCandidates,
		taken: map[uint64]bool{},
	}
	if log2 := bits - pool.CIDR.Bits(); log2 < 32 {
		s.count = 1 << log2
	}
	for _, cidr := range existing {
		switch {
		case !pool.CIDR.Overlaps(cidr):
		case cidr.Bits() <= pool.CIDR.Bits():
			s.count = 0
		default:
			s.take(cidr)
		}
	}
	return s
}

// take marks what a block covers; it may be of another size than the pool's blocks.
func (s *space) take(cidr netip.Prefix) {
	first := offset(s.base, cidr.Addr()) >> s.shift
	covered := uint64(1)
	if larger := s.bits - cidr.Bits(); larger > 0 {
		covered = 1 << larger
	}
	for index := first; index < first+covered; index++ {
		s.taken[index] = true
	}
}

// claim takes the candidate that contains an address, unless it is taken already.
func (s *space) claim(addr netip.Addr) (netip.Prefix, bool) {
	index := offset(s.base, addr) >> s.shift
	if index >= s.count || s.taken[index] {
		return netip.Prefix{}, false
	}
	s.taken[index] = true
	return s.candidate(index), true
}

// pick chooses a free candidate that is not reserved as a whole and takes it, beginning at a place that depends on the
// host, so that nodes which claim at once seldom meet. It gives false when the pool is full.
func (s *space) pick(host string, reserved ipreservation.Set) (netip.Prefix, bool) {
	if s.count == 0 {
		return netip.Prefix{}, false
	}
	hash := fnv.New64a()
	hash.Write([]byte(host))
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
func (s *space) last(net netip.Prefix) uint64 {
	larger := s.bits - net.Bits()
	if larger >= 32 || net.Addr().Less(s.base) {
		return s.count - 1
	}
	return min(offset(s.base, net.Addr())>>s.shift+1<<larger, s.count) - 1
}

func (s *space) candidate(index uint64) netip.Prefix {
	return netip.PrefixFrom(nth(s.base, index<<s.shift), s.bits)
}
