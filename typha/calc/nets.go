package calc

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
)

// nets are networks packed into one string, without pointers: sorted, each once. One of IPv4 takes 5 octets, its length
// and its address; one of IPv6 takes 17. Where there are any of IPv6, a head comes first that says how many are of
// IPv4.
type nets string

const (
	netSize4, netSize6 = 1 + 4, 1 + 16
	netsHead           = 0xff // no length
	netsHeadSize       = 1 + 4
)

// packNets sorts the networks.
func packNets(list []netip.Prefix) nets {
	if len(list) == 0 {
		return ""
	}
	slices.SortFunc(list, comparePrefixes)
	list = slices.Compact(list)
	n4 := sort.Search(len(list), func(i int) bool { return list[i].Addr().Is6() })
	out := make([]byte, 0, netsHeadSize+n4*netSize4+(len(list)-n4)*netSize6)
	if n4 < len(list) {
		out = binary.BigEndian.AppendUint32(append(out, netsHead), uint32(n4))
	}
	for _, net := range list {
		out = append(append(out, byte(net.Bits())), net.Addr().AsSlice()...)
	}
	return nets(out)
}

// families returns the parts of IPv4 and IPv6.
func (n nets) families() (four, six nets) {
	if len(n) == 0 || n[0] != netsHead {
		return n, ""
	}
	size := netSize4 * int(binary.BigEndian.Uint32([]byte(n[1:netsHeadSize])))
	n = n[netsHeadSize:]
	return n[:size], n[size:]
}

func (n nets) first4() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte([]byte(n[1:netSize4]))), int(n[0]))
}

func (n nets) first6() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte([]byte(n[1:netSize6]))), int(n[0]))
}

// each goes through the networks in order.
func (n nets) each(yield func(netip.Prefix) bool) {
	four, six := n.families()
	for ; len(four) > 0; four = four[netSize4:] {
		if !yield(four.first4()) {
			return
		}
	}
	for ; len(six) > 0; six = six[netSize6:] {
		if !yield(six.first6()) {
			return
		}
	}
}

// count returns the number of networks.
func (n nets) count() int {
	four, six := n.families()
	return len(four)/netSize4 + len(six)/netSize6
}

// has reports whether a network is one of them.
func (n nets) has(net netip.Prefix) bool {
	four, six := n.families()
	part, size, first := four, netSize4, nets.first4
	if net.Addr().Is6() {
		part, size, first = six, netSize6, nets.first6
	}
	_, found := sort.Find(len(part)/size, func(i int) int { return comparePrefixes(net, first(part[i*size:])) })
	return found
}

// with returns them and one more, less those without one.
func (n nets) with(net netip.Prefix) nets { return packNets(append(slices.Collect(n.each), net)) }

func (n nets) less(net netip.Prefix) nets {
	return packNets(slices.DeleteFunc(slices.Collect(n.each), func(x netip.Prefix) bool { return x == net }))
}
