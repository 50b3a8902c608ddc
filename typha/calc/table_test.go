package calc

import (
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/maneki-net/maneki/typha/calc/spec"
)

// TestTableDoesWhatAMapDoes adds, removes and finds values whose keys often have one hash.
func TestTableDoesWhatAMapDoes(t *testing.T) {
	type value struct{ key int }
	r := rand.New(rand.NewPCG(1, 2))
	for _, hashes := range []int{1, 3, 1 << 20} {
		table := newTable(maphash.MakeSeed(), func(v *value) int { return v.key })
		table.hash = func(key int) uint64 { return uint64(key % hashes) }
		want := map[int]*value{}
		for range 5000 {
			switch key := r.IntN(20); {
			case want[key] == nil:
				want[key] = &value{key}
				table.add(want[key])
			case r.IntN(10) == 0:
				table.remove(&value{key}) // one that is not there
			default:
				table.remove(want[key])
				delete(want, key)
			}
			for key := range 20 {
				if got := table.get(key); got != want[key] {
					t.Fatalf("%d hashes: %d is %p, want %p", hashes, key, got, want[key])
				}
			}
			got := map[int]*value{}
			for v := range table.all {
				got[v.key] = v
			}
			if !maps.Equal(got, want) || table.size() != len(want) {
				t.Fatalf("%d hashes: %d values, which are %v, want %v", hashes, table.size(), got, want)
			}
		}
		for _, v := range want {
			table.remove(v)
		}
		if len(table.first)+len(table.more) > 0 {
			t.Errorf("%d hashes: left are %v, %v", hashes, table.first, table.more)
		}
	}
}

func TestBagHoldsWhatWasAdded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var b bag[int]
	var want []*int
	for range 5000 {
		if n := len(want); n > 0 && r.IntN(1+r.IntN(12)) < n {
			at := r.IntN(n)
			b.remove(want[at])
			want = slices.Delete(want, at, at+1)
		} else {
			want = append(want, new(int))
			b.add(want[n])
		}
		got := slices.Collect(b.all)
		if len(got) != len(want) || b.size() != len(want) || slices.ContainsFunc(want, func(x *int) bool { return !slices.Contains(got, x) }) {
			t.Fatalf("the bag has %d: %v, want %v", b.size(), got, want)
		}
		if b.more != nil && (len(want) < 2 || slices.ContainsFunc(b.more.list[len(b.more.list):cap(b.more.list)], func(x *int) bool { return x != nil })) {
			t.Fatalf("of %d the bag holds room or what went: %v", len(want), b.more.list[:cap(b.more.list)])
		}
		for n := range want {
			passed := 0
			for range b.all {
				if passed++; passed > n {
					break
				}
			}
		}
	}
}

// TestPileHoldsWhatWasAdded grows and shrinks a pile beyond the size from which it knows where its values are, and back.
func TestPileHoldsWhatWasAdded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var p pile[int]
	var want []int
	next := 0
	for _, size := range []int{manyInPile - 1, 4 * manyInPile, manyInPile / 4, 3 * manyInPile, 0} {
		for len(want) != size {
			if len(want) > size || len(want) > 0 && r.IntN(3) == 0 {
				at := r.IntN(len(want))
				p.remove(want[at])
				p.remove(want[at]) // is not there any more
				want = slices.Delete(want, at, at+1)
			} else {
				next++
				want = append(want, next)
				p.add(next)
			}
			if got := slices.Sorted(slices.Values(p.list)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Fatalf("the pile has %v, want %v", got, want)
			}
			if len(want) > 0 && !p.has(want[r.IntN(len(want))]) || p.has(next+1) {
				t.Fatalf("of %d values the pile does not know which it has", len(want))
			}
		}
	}
}

// TestNothingIsSoughtAmongAll makes so many of each of these that looking through all for each one would not end.
func TestNothingIsSoughtAmongAll(t *testing.T) {
	const many = 200_000
	var sets setsOf
	for i := range many {
		sets.add(spec.NamedPorts(spec.All(spec.Pods), strconv.Itoa(i), 6))
	}
	sets.cut(1)
	if sets.add(sets.specs[0]); len(sets.specs) != 1 || len(sets.names) != 1 {
		t.Errorf("of the sets there are %d, by %d names, want 1", len(sets.specs), len(sets.names))
	}
	e, g := New(), group{}
	e.acquireSpace("shop")
	for i := range many {
		e.placeOf(placeSpec{kind: itemPod, namespace: "shop", account: strconv.Itoa(i)})
		g.sets.add(&ipSet{Content: spec.Content{Name: strconv.Itoa(i)}})
	}
	for len(g.sets.list) > 0 {
		g.sets.remove(g.sets.list[0])
	}
}

// someNets are of both families, some in others, and one of IPv4 that is written as IPv6.
var someNets = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/32"), netip.MustParsePrefix("10.0.0.1/32"),
	netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::/128"), netip.MustParsePrefix("fd00::/8"),
	netip.MustParsePrefix("fd00::/128"), netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 128), netip.MustParsePrefix("ff::/128"),
}

// TestNetsAreASortedSet packs every choice of some networks, in any order and more than once.
func TestNetsAreASortedSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for choice := range 1 << len(someNets) {
		var want []netip.Prefix
		for i, net := range someNets {
			if choice>>i&1 == 1 {
				want = append(want, net)
			}
		}
		slices.SortFunc(want, comparePrefixes)
		list := append(slices.Clone(want), want[:r.IntN(len(want)+1)]...)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		packed := packNets(list)
		if got := slices.Collect(packed.each); !slices.Equal(got, want) {
			t.Fatalf("%v becomes %v", want, got)
		}
		for i, net := range someNets {
			in := choice>>i&1 == 1
			if packed.has(net) != in {
				t.Fatalf("%v has %v: %v", want, net, !in)
			}
			if with, less := packed.with(net), packed.less(net); !with.has(net) || less.has(net) || in && with != packed || !in && less != packed {
				t.Fatalf("%v with %v is %v, without it %v", want, net, slices.Collect(with.each), slices.Collect(less.each))
			}
		}
	}
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
			e.setNets(items[r.IntN(len(items))], packNets(list))
			for _, net := range someNets {
				for _, it := range items {
					if found := e.nets.any(net, func(x *item) bool { return x == it }); found != it.nets.has(net) {
						t.Fatalf("%d hashes: %s has %v: %v", hashes, it.name, net, found)
					}
				}
				want := slices.DeleteFunc(slices.Clone(items), func(it *item) bool {
					return !slices.ContainsFunc(slices.Collect(it.nets.each), func(x netip.Prefix) bool { return x.Contains(net.Addr()) })
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
