package wire

import (
	"net/netip"
	"testing"
	"time"
)

// BenchmarkEncodeMembers compares encodeMembers with the library's encoder on the members of a large set. It reports
// the library's time as a multiple of that of encodeMembers.
func BenchmarkEncodeMembers(b *testing.B) {
	var nets []netip.Prefix
	for i := range 100_000 {
		nets = append(nets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	var own, library time.Duration
	for b.Loop() {
		began := time.Now()
		encodeMembers(SetNet, nets, nil)
		own += time.Since(began)
		began = time.Now()
		members := make([][]byte, len(nets))
		for i, n := range nets {
			encoded, err := Encode(n)
			if err != nil {
				b.Fatal(err)
			}
			members[i] = encoded
		}
		sortMembers(members)
		library += time.Since(began)
	}
	b.ReportMetric(float64(library)/float64(own), "library/own")
}
