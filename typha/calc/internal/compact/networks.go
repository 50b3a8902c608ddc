package compact

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
)

// Networks are networks packed into one string, without pointers: sorted, each once. One of IPv4 takes 5 bytes, its
// length and its address; one of IPv6 takes 17. Where there are any of IPv6, a head of 5 bytes comes first, which says
// how many are of IPv4. Equal strings are equal sets of networks.
type Networks string

const (
	size4, size6 = 1 + 4, 1 + 16
	headMark     = 0xff // no prefix length
	headSize     = 1 + 4
)

// PackNetworks packs networks. It sorts the list.
func PackNetworks(list []netip.Prefix) Networks {
	if len(list) == 0 {
		return ""
	}
	slices.SortFunc(list, ComparePrefixes)
	list = slices.Compact(list)
	n4 := sort.Search(len(list), func(i int) bool { return list[i].Addr().Is6() })
	out := make([]byte, 0, headSize+n4*size4+(len(list)-n4)*size6)
	if n4 < len(list) {
		out = binary.BigEndian.AppendUint32(append(out, headMark), uint32(n4))
	}
	for _, net := range list {
		out = append(append(out, byte(net.Bits())), net.Addr().AsSlice()...)
	}
	return Networks(out)
}

// ComparePrefixes orders networks by address, then by length.
func ComparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// families returns the parts of IPv4 and IPv6.
func (n Networks) families() (four, six Networks) {
	if len(n) == 0 || n[0] != headMark {
		return n, ""
	}
	size := size4 * int(binary.BigEndian.Uint32([]byte(n[1:headSize])))
	n = n[headSize:]
	return n[:size], n[size:]
}

func (n Networks) first4() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte([]byte(n[1:size4]))), int(n[0]))
}

func (n Networks) first6() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte([]byte(n[1:size6]))), int(n[0]))
}

// All iterates over the networks in order.
func (n Networks) All(yield func(netip.Prefix) bool) {
	four, six := n.families()
	for ; len(four) > 0; four = four[size4:] {
		if !yield(four.first4()) {
			return
		}
	}
	for ; len(six) > 0; six = six[size6:] {
		if !yield(six.first6()) {
			return
		}
	}
}

// Len returns the number of networks.
func (n Networks) Len() int {
	four, six := n.families()
	return len(four)/size4 + len(six)/size6
}

// Has reports whether a network is one of them.
func (n Networks) Has(net netip.Prefix) bool {
	four, six := n.families()
	part, size, first := four, size4, Networks.first4
	if net.Addr().Is6() {
		part, size, first = six, size6, Networks.first6
	}
	_, found := sort.Find(len(part)/size, func(i int) int { return ComparePrefixes(net, first(part[i*size:])) })
	return found
}

// With returns the networks and one more.
func (n Networks) With(net netip.Prefix) Networks {
	return PackNetworks(append(slices.Collect(n.All), net))
}

// Without returns the networks except one.
func (n Networks) Without(net netip.Prefix) Networks {
	return PackNetworks(slices.DeleteFunc(slices.Collect(n.All), func(x netip.Prefix) bool { return x == net }))
}
