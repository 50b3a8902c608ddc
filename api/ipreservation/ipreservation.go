// Package ipreservation says which addresses IPReservations keep from being assigned.
//
// It is pure. The calculation engine reads reservations with it, and address assignment looks addresses up in the
// resulting Set.
package ipreservation

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Read returns the networks that a reservation names, and the errors of those that cannot be read. A single address is
// a network. Bits beyond the prefix length are cleared, as in Calico.
func Read(o *v3.IPReservation) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	var errs []error
	for i, text := range o.Spec.ReservedCIDRs {
		net, err := rule.ParseNet(strings.TrimSpace(text))
		if err != nil {
			errs = append(errs, fmt.Errorf("spec.reservedCIDRs[%d]: %q reserves nothing: it %w", i, text, err))
			continue
		}
		nets = append(nets, net)
	}
	return nets, errors.Join(errs...)
}

// Set is a set of addresses. It is sorted; no member overlaps another, and no two members together are a network. Make
// it with Merge.
type Set []netip.Prefix

// Merge returns the addresses of all networks.
func Merge(nets []netip.Prefix) Set {
	var set Set
	for _, net := range slices.SortedFunc(slices.Values(nets), netip.Prefix.Compare) {
		if n := len(set); n > 0 && set[n-1].Overlaps(net) {
			continue // a network that overlaps an earlier one is in it
		}
		set = append(set, net)
		for n := len(set); n > 1; n = len(set) {
			whole, ok := union(set[n-2], set[n-1])
			if !ok {
				break
			}
			set = append(set[:n-2], whole)
		}
	}
	return set
}

// union returns the network that consists of two halves, if there is one.
func union(a, b netip.Prefix) (netip.Prefix, bool) {
	if a.Bits() != b.Bits() || a.Bits() == 0 || a.Addr().Is4() != b.Addr().Is4() {
		return netip.Prefix{}, false
	}
	whole := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
	return whole, whole.Contains(b.Addr())
}

// Around returns the member that contains a whole network.
func (s Set) Around(net netip.Prefix) (netip.Prefix, bool) {
	after, _ := slices.BinarySearchFunc(s, net.Addr(), func(member netip.Prefix, addr netip.Addr) int {
		if member.Addr().Compare(addr) > 0 {
			return 1
		}
		return -1
	})
	if after == 0 || s[after-1].Bits() > net.Bits() || !s[after-1].Contains(net.Addr()) {
		return netip.Prefix{}, false
	}
	return s[after-1], true
}

// Contains reports whether an address is in the set.
func (s Set) Contains(addr netip.Addr) bool {
	_, is := s.Around(netip.PrefixFrom(addr, addr.BitLen()))
	return is
}

// Count returns how many addresses of a network are in the set. It is a float because a network of IPv6 may have more
// than fit into an integer.
func (s Set) Count(net netip.Prefix) float64 {
	if _, is := s.Around(net); is {
		return size(net)
	}
	count := 0.0
	for _, member := range s {
		if net.Contains(member.Addr()) {
			count += size(member)
		}
	}
	return count
}

func size(net netip.Prefix) float64 {
	count := 1.0
	for range net.Addr().BitLen() - net.Bits() {
		count *= 2
	}
	return count
}
