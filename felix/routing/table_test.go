package routing_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/routing"
)

// TestTableChanges makes random changes: what Changes returns, applied one after the other, is always what a Table that
// was made at once has.
func TestTableChanges(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	host := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 65, 1, byte(random.IntN(4))}), 32)
	}
	changing, applied := routing.NewTable(dataplane.IPv4), map[route.Key]route.Route{}
	workloads, network := map[string]routing.Workload{}, []route.Route(nil)
	for step := range 2000 {
		iface := []string{"cali1", "cali2", "cali3"}[random.IntN(3)]
		switch random.IntN(3) {
		case 0:
			w := routing.Workload{Name: "shop/" + iface, Interface: iface}
			for range random.IntN(3) {
				if addr := host().Addr(); !slices.Contains(w.Addrs, addr) {
					w.Addrs = append(w.Addrs, addr)
				}
			}
			workloads[iface] = w
			changing.SetWorkload(w)
		case 1:
			delete(workloads, iface)
			changing.RemoveWorkload(iface)
		case 2:
			network = nil
			for dst, kind := range map[netip.Prefix]route.Type{host(): route.Blackhole,
				prefix("10.65.0.0/16"): route.Unicast} {
				network = append(network, route.Route{Dst: dst, Type: kind})
			}
			changing.SetNetwork(network)
		}
		upserts, deletes := changing.Changes()
		for _, key := range deletes {
			delete(applied, key)
		}
		for _, r := range upserts {
			applied[route.Key{Dst: r.Dst}] = r
		}
		whole := routing.NewTable(dataplane.IPv4)
		whole.SetNetwork(network)
		for _, w := range workloads {
			whole.SetWorkload(w)
		}
		var got []route.Route
		for _, r := range applied {
			got = append(got, r)
		}
		slices.SortFunc(got, func(a, b route.Route) int { return strings.Compare(a.Dst.String(), b.Dst.String()) })
		want := whole.Routes()
		slices.SortFunc(want, func(a, b route.Route) int { return strings.Compare(a.Dst.String(), b.Dst.String()) })
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(),
			cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
			t.Fatalf("seed %d, step %d (-want +got):\n%s", seed, step, diff)
		}
		if diff := cmp.Diff(whole.Problems(), changing.Problems()); diff != "" {
			t.Fatalf("seed %d, step %d: problems (-want +got):\n%s", seed, step, diff)
		}
	}
}
