package labelindex

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
)

// someNets are of both families, some in others, and one of IPv4 that is written as IPv6.
var someNets = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/32"),
	netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("::/0"),
	netip.MustParsePrefix("::/128"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fd00::/128"),
	netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 128), netip.MustParsePrefix("ff::/128"),
}

// TestItemsAreFoundByNetwork gives items networks and takes them away where networks often have one hash.
func TestItemsAreFoundByNetwork(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, hashes := range []uint64{1, 3, 1 << 40} {
		x := New()
		if seeded := x.networks.hash; hashes < 1<<40 {
			x.networks.hash = func(net netip.Prefix) uint64 { return seeded(net) % hashes }
		}
		items := []*Item{{}, {}, {}}
		for i, it := range items {
			x.Add(it, Key{Name: string(rune('a' + i))})
		}
		for range 2000 {
			var list []netip.Prefix
			for range r.IntN(5) {
				list = append(list, someNets[r.IntN(len(someNets))])
			}
			x.SetNetworks(items[r.IntN(len(items))], compact.PackNetworks(list))
			for _, net := range someNets {
				for _, it := range items {
					found := x.AnyWith(net, func(other *Item) bool { return other == it })
					if found != it.networks.Has(net) {
						t.Fatalf("%d hashes: %s has %v: %v", hashes, it.name, net, found)
					}
				}
				want := slices.DeleteFunc(slices.Clone(items), func(it *Item) bool {
					contains := func(n netip.Prefix) bool { return n.Contains(net.Addr()) }
					return !slices.ContainsFunc(slices.Collect(it.networks.All), contains)
				})
				var got []*Item
				x.EachContaining(net.Addr(), func(it *Item) { got = append(got, it) })
				for _, it := range items {
					if slices.Contains(got, it) != slices.Contains(want, it) {
						t.Fatalf("%d hashes: %v is in a network of %s: %v", hashes, net.Addr(), it.name,
							slices.Contains(got, it))
					}
				}
			}
		}
		for _, it := range items {
			x.SetNetworks(it, "")
		}
		if left := x.Held()["item networks"]; left > 0 {
			t.Errorf("%d hashes: %d networks are left", hashes, left)
		}
	}
}
