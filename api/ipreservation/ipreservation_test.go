package ipreservation

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestRead(t *testing.T) {
	nets, err := Read(&v3.IPReservation{Spec: v3.IPReservationSpec{ReservedCIDRs: []string{
		"10.0.0.0/28", "10.0.1.7", "10.0.2.9/24", "fd00::/64", " fd01::1 ", "10.0.0", ""}}})
	want := []string{"10.0.0.0/28", "10.0.1.7/32", "10.0.2.0/24", "fd00::/64", "fd01::1/128"}
	var got []string
	for _, net := range nets {
		got = append(got, net.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("networks %v, want %v", got, want)
	}
	for _, part := range []string{"spec.reservedCIDRs[5]", `"10.0.0"`, "spec.reservedCIDRs[6]", "10.0.0.0/8"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not contain %s", err, part)
		}
	}
}

// TestSet compares sets of random networks with looking at each network for each address.
func TestSet(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var nets []netip.Prefix
		for range r.IntN(8) {
			addr, bits := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(64))}), 26+r.IntN(7)
			if r.IntN(3) == 0 {
				addr, bits = netip.AddrFrom16([16]byte{0xfd, 15: byte(r.IntN(64))}), 122+r.IntN(7)
			}
			nets = append(nets, netip.PrefixFrom(addr, bits).Masked())
		}
		set := Merge(nets)
		count := map[bool]float64{}
		for i := range 64 {
			for _, addr := range []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}),
				netip.AddrFrom16([16]byte{0xfd, 15: byte(i)})} {
				want := slices.ContainsFunc(nets, func(net netip.Prefix) bool { return net.Contains(addr) })
				if got := set.Contains(addr); got != want {
					t.Fatalf("seed %d: %v contains %s: %t", seed, nets, addr, got)
				}
				if want {
					count[addr.Is4()]++
				}
			}
		}
		four, six := netip.MustParsePrefix("10.0.0.0/26"), netip.MustParsePrefix("fd00::/122")
		if set.Count(four) != count[true] || set.Count(six) != count[false] {
			t.Fatalf("seed %d: %v has %v and %v addresses, want %v", seed, nets, set.Count(four), set.Count(six), count)
		}
		if _, whole := set.Around(four); whole != (count[true] == 64) {
			t.Fatalf("seed %d: %v contains all of %s: %t", seed, nets, four, whole)
		}
	}
}
