package compact

import (
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestTableDoesWhatAMapDoes adds, removes and finds values whose keys often have one hash.
func TestTableDoesWhatAMapDoes(t *testing.T) {
	type value struct{ key int }
	r := rand.New(rand.NewPCG(1, 2))
	for _, hashes := range []int{1, 3, 1 << 20} {
		table := NewTable(maphash.MakeSeed(), func(v *value) int { return v.key })
		table.hash = func(key int) uint64 { return uint64(key % hashes) }
		want := map[int]*value{}
		for range 5000 {
			switch key := r.IntN(20); {
			case want[key] == nil:
				want[key] = &value{key}
				table.Add(want[key])
			case r.IntN(10) == 0:
				table.Remove(&value{key}) // one that is not there
			default:
				table.Remove(want[key])
				delete(want, key)
			}
			for key := range 20 {
				if got := table.Get(key); got != want[key] {
					t.Fatalf("%d hashes: %d is %p, want %p", hashes, key, got, want[key])
				}
			}
			got := map[int]*value{}
			for v := range table.All {
				got[v.key] = v
			}
			if !maps.Equal(got, want) || table.Len() != len(want) {
				t.Fatalf("%d hashes: %d values, which are %v, want %v", hashes, table.Len(), got, want)
			}
		}
		for _, v := range want {
			table.Remove(v)
		}
		if len(table.first)+len(table.more) > 0 {
			t.Errorf("%d hashes: left are %v, %v", hashes, table.first, table.more)
		}
	}
}

func TestPointersHoldWhatWasAdded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var p Pointers[int]
	var want []*int
	for range 5000 {
		if n := len(want); n > 0 && r.IntN(1+r.IntN(12)) < n {
			at := r.IntN(n)
			p.Remove(want[at])
			want = slices.Delete(want, at, at+1)
		} else {
			want = append(want, new(int))
			p.Add(want[n])
		}
		got := slices.Collect(p.All)
		lacks := func(x *int) bool { return !slices.Contains(got, x) }
		if len(got) != len(want) || p.Len() != len(want) || slices.ContainsFunc(want, lacks) {
			t.Fatalf("the set has %d: %v, want %v", p.Len(), got, want)
		}
		if p.more != nil {
			list := p.more.list
			unused := list[len(list):cap(list)]
			if len(want) < 2 || slices.ContainsFunc(unused, func(x *int) bool { return x != nil }) {
				t.Fatalf("of %d pointers the set holds room, or what was removed: %v", len(want), list[:cap(list)])
			}
		}
		for n := range want {
			passed := 0
			for range p.All {
				passed++
				if passed > n {
					break
				}
			}
		}
	}
}

// TestSetHoldsWhatWasAdded grows and shrinks a set beyond the size from which it knows where its values are, and back.
func TestSetHoldsWhatWasAdded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s Set[int]
	var want []int
	next := 0
	for _, size := range []int{indexedFrom - 1, 4 * indexedFrom, indexedFrom / 4, 3 * indexedFrom, 0} {
		for len(want) != size {
			if len(want) > size || len(want) > 0 && r.IntN(3) == 0 {
				at := r.IntN(len(want))
				s.Remove(want[at])
				s.Remove(want[at]) // is not there any more
				want = slices.Delete(want, at, at+1)
			} else {
				next++
				want = append(want, next)
				s.Add(next)
			}
			if got := slices.Sorted(slices.Values(s.list)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Fatalf("the set has %v, want %v", got, want)
			}
			if len(want) > 0 && !s.Has(want[r.IntN(len(want))]) || s.Has(next+1) {
				t.Fatalf("of %d values the set does not know which it has", len(want))
			}
		}
	}
}

// someNets are of both families, some in others, and one of IPv4 that is written as IPv6.
var someNets = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/32"),
	netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("::/0"),
	netip.MustParsePrefix("::/128"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fd00::/128"),
	netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 128), netip.MustParsePrefix("ff::/128"),
}

// TestNetworksAreASortedSet packs every choice of some networks, in any order and more than once.
func TestNetworksAreASortedSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for choice := range 1 << len(someNets) {
		var want []netip.Prefix
		for i, net := range someNets {
			if choice>>i&1 == 1 {
				want = append(want, net)
			}
		}
		slices.SortFunc(want, ComparePrefixes)
		list := append(slices.Clone(want), want[:r.IntN(len(want)+1)]...)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		packed := PackNetworks(list)
		if got := slices.Collect(packed.All); !slices.Equal(got, want) {
			t.Fatalf("%v becomes %v", want, got)
		}
		for i, net := range someNets {
			in := choice>>i&1 == 1
			if packed.Has(net) != in {
				t.Fatalf("%v has %v: %v", want, net, !in)
			}
			with, without := packed.With(net), packed.Without(net)
			same := in && with == packed || !in && without == packed
			if !same || !with.Has(net) || without.Has(net) {
				t.Fatalf("%v with %v is %v, without it %v", want, net, slices.Collect(with.All),
					slices.Collect(without.All))
			}
		}
	}
}
