package calc

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// TestNothingIsSoughtAmongAll makes so many of each of these that looking through all for each one would not end.
func TestNothingIsSoughtAmongAll(t *testing.T) {
	const many = 200_000
	e, g := New(), group{}
	e.acquireSpace("shop")
	for i := range many {
		e.placeOf(placeSpec{kind: itemPod, namespace: "shop", account: strconv.Itoa(i)})
		g.sets.add(&ipSet{Content: spec.Content{Name: strconv.Itoa(i)}})
	}
	for _, set := range slices.Collect(g.sets.All) {
		g.sets.remove(set)
	}
}

// someNets are of both families, some in others, and one of IPv4 that is written as IPv6.
var someNets = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/32"), netip.MustParsePrefix("10.0.0.1/32"),
	netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::/128"), netip.MustParsePrefix("fd00::/8"),
	netip.MustParsePrefix("fd00::/128"), netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 128), netip.MustParsePrefix("ff::/128"),
}

// TestNetTableFindsWhoHasANetwork gives items networks and takes them away where networks often have one hash.
func TestNetTableFindsWhoHasANetwork(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, hashes := range []uint64{1, 3, 1 << 40} {
		e := New()
		if seeded := e.nets.hash; hashes < 1<<40 {
			e.nets.hash = func(net netip.Prefix) uint64 { return seeded(net) % hashes }
		}
		items := []*item{{name: "a"}, {name: "b"}, {name: "c"}}
		for range 2000 {
			var list []netip.Prefix
			for range r.IntN(5) {
				list = append(list, someNets[r.IntN(len(someNets))])
			}
			e.setNets(items[r.IntN(len(items))], compact.PackNetworks(list))
			for _, net := range someNets {
				for _, it := range items {
					if found := e.nets.any(net, func(x *item) bool { return x == it }); found != it.nets.Has(net) {
						t.Fatalf("%d hashes: %s has %v: %v", hashes, it.name, net, found)
					}
				}
				want := slices.DeleteFunc(slices.Clone(items), func(it *item) bool {
					return !slices.ContainsFunc(slices.Collect(it.nets.All), func(x netip.Prefix) bool { return x.Contains(net.Addr()) })
				})
				var got []*item
				e.nets.containing(net.Addr(), func(it *item) { got = append(got, it) })
				for _, it := range items {
					if slices.Contains(got, it) != slices.Contains(want, it) {
						t.Fatalf("%d hashes: %v is in a network of %s: %v", hashes, net.Addr(), it.name, slices.Contains(got, it))
					}
				}
			}
		}
		for _, it := range items {
			e.setNets(it, "")
		}
		if left := e.Residue()["nets"]; left > 0 {
			t.Errorf("%d hashes: %d networks are left", hashes, left)
		}
	}
}
