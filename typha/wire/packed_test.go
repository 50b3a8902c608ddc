package wire

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// member is a random member of a small space, so that changes collide.
func randomNet(r *rand.Rand) netip.Prefix {
	if r.IntN(4) == 0 {
		a := netip.MustParseAddr("fd00::").As16()
		a[14], a[15] = byte(r.IntN(8)), byte(r.IntN(256))
		return netip.PrefixFrom(netip.AddrFrom16(a), []int{128, 64, 0}[r.IntN(3)]).Masked()
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(32)), byte(r.IntN(256))}),
		[]int{32, 32, 32, 24, 0}[r.IntN(5)]).Masked()
}

func randomPort(r *rand.Rand) PortMember {
	return PortMember{randomNet(r).Addr(), []uint8{6, 17, 132}[r.IntN(3)], []uint16{7, 80, 200, 8080}[r.IntN(4)]}
}

// TestPackedSetIsThatOfItsMembers makes random changes and compares with a map: members, count, encoding and hash
// are those of a set that was packed at once.
func TestPackedSetIsThatOfItsMembers(t *testing.T) {
	t.Run("nets", func(t *testing.T) {
		testPacked(t, SetNet, randomNet, func(s *IPSet, m []netip.Prefix) { s.Nets = m },
			func(d *SetDelta, added, removed []netip.Prefix) {
				d.AddedNets, d.RemovedNets = added, removed
			})
	})
	t.Run("ports", func(t *testing.T) {
		testPacked(t, SetPort, randomPort, func(s *IPSet, m []PortMember) { s.Ports = m },
			func(d *SetDelta, added, removed []PortMember) {
				d.AddedPorts, d.RemovedPorts = added, removed
			})
	})
}

func testPacked[M comparable](t *testing.T, typ SetType, random func(*rand.Rand) M, whole func(*IPSet, []M),
	change func(*SetDelta, []M, []M)) {
	r := rand.New(rand.NewPCG(1, 2))
	set, want := Pack(&IPSet{Name: "s", Type: typ}), map[M]bool{}
	for round := range 400 {
		var added, removed []M
		// It grows to thousands and shrinks to nothing, in large and small steps.
		for range 1 + r.IntN(1<<r.IntN(9)) {
			if m := random(r); r.IntN(400) > round {
				added = append(added, m)
			}
		}
		for m := range want {
			if len(removed) > r.IntN(1<<(1+r.IntN(10))) {
				break
			}
			removed = append(removed, m)
		}
		removed = slices.DeleteFunc(removed, func(m M) bool { return slices.Contains(added, m) })
		for _, m := range added {
			want[m] = true
		}
		for _, m := range removed {
			delete(want, m)
		}
		d := &SetDelta{Name: "s"}
		change(d, added, removed)
		before, encoded := set.Unpack(), must(Encode(d))
		next := set.With(d)
		if !sameSet(before, set.Unpack()) {
			t.Fatal("With changed the set")
		}
		other, err := set.WithEncoded(encoded)
		if err != nil || other.Hash() != next.Hash() {
			t.Fatalf("the encoded change gives another set, %v", err)
		}
		set = next
		plain := &IPSet{Name: "s", Type: typ}
		whole(plain, slices.Collect(maps.Keys(want)))
		checkPacked(t, set, Pack(plain), len(want))
	}
}

func sameSet(a, b *IPSet) bool { return slices.Equal(a.Nets, b.Nets) && slices.Equal(a.Ports, b.Ports) }

func checkPacked(t *testing.T, got, want *PackedSet, count int) {
	t.Helper()
	if got.Len() != count || want.Len() != count || got.Hash() != want.Hash() || got.Size() != want.Size() {
		t.Fatalf("%d members of %d octets, hash %x; want %d of %d, %x", got.Len(), got.Size(), got.Hash(), count,
			want.Size(), want.Hash())
	}
	plain := got.Unpack()
	if !slices.IsSortedFunc(plain.Nets, netip.Prefix.Compare) {
		t.Fatal("the members are not sorted")
	}
	encoded := must(Encode(plain)) // by the CBOR library alone
	var members []byte
	for _, piece := range got.pieces {
		members = append(members, piece.data...)
	}
	if !bytes.HasSuffix(encoded, members) || !bytes.Equal(must(Encode(got)), encoded) {
		t.Fatal("the members are not encoded as the library does")
	}
	var decoded PackedSet
	if err := Decode(encoded, &decoded); err != nil || decoded.Hash() != got.Hash() || decoded.Name != got.Name {
		t.Fatalf("decoded: %q, %v", decoded.Name, err)
	}
	again := Pack(&IPSet{Name: got.Name, Type: got.Type})
	for p := range got.Pieces() {
		var err error
		again, err = again.WithEncoded(must(Encode(p.Delta())))
		if err != nil {
			t.Fatal(err)
		}
	}
	if again.Hash() != got.Hash() {
		t.Fatal("the pieces do not make the set")
	}
}

func TestHashTellsSetsApart(t *testing.T) {
	a, b := netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32")
	hashes := map[Hash]string{}
	for name, s := range map[string]*IPSet{
		"empty": {Type: SetNet}, "empty ports": {Type: SetPort}, "a": {Type: SetNet, Nets: []netip.Prefix{a}},
		"b":    {Type: SetNet, Nets: []netip.Prefix{b}},
		"both": {Type: SetNet, Nets: []netip.Prefix{a, b}}, "port": {Type: SetPort,
			Ports: []PortMember{{a.Addr(), 6, 1}}},
	} {
		h := Pack(s).Hash()
		if other := hashes[h]; other != "" {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		hashes[h] = name
	}
}

// TestPiecesStaySmall: addresses come in dense ranges, and the pieces of a large set are neither few nor tiny.
func TestPiecesStaySmall(t *testing.T) {
	for name, at := range map[string]func(i int) [4]byte{
		"dense":  func(i int) [4]byte { return [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)} },
		"blocks": func(i int) [4]byte { return [4]byte{10, byte(i >> 12), byte(i >> 4), byte(i&15) + 64} },
		"spread": func(i int) [4]byte {
			x := uint32(i) * 2654435761
			return [4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)}
		},
	} {
		s := &IPSet{Type: SetNet}
		for i := range 100_000 {
			s.Nets = append(s.Nets, netip.PrefixFrom(netip.AddrFrom4(at(i)), 32))
		}
		p, largest := Pack(s), 0
		for _, piece := range p.pieces {
			largest = max(largest, piece.count)
		}
		if len(p.pieces) < 50 || len(p.pieces) > 1000 || largest > 16*meanPiece {
			t.Errorf("%s: %d pieces, the largest of %d members", name, len(p.pieces), largest)
		}
	}
}

func FuzzPackedSetDecodes(f *testing.F) {
	f.Add(must(Encode(&IPSet{Name: "s", Type: SetNet, Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("fd00::/64")}})))
	f.Add(must(Encode(&IPSet{Name: "s", Type: SetPort, Ports: []PortMember{{netip.MustParseAddr("10.0.0.1"), 6,
		8080}}})))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p PackedSet
		var plain IPSet
		packed, unpacked := Decode(data, &p), Decode(data, &plain)
		if packed != nil {
			return
		}
		if got := p.Unpack(); unpacked == nil && Pack(&plain).Hash() != Pack(got).Hash() {
			t.Errorf("packed %v, plain %v", got, plain)
		}
	})
}

func BenchmarkPackedSetChange(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := &IPSet{Type: SetNet}
			for i := range n {
				s.Nets = append(s.Nets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8),
					byte(i)}), 32))
			}
			p := Pack(s)
			b.ReportMetric(float64(p.Size())/float64(n), "octets/member")
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(i >> 8), byte(i)}), 32)}
				p = p.With(&SetDelta{AddedNets: m}).With(&SetDelta{RemovedNets: m})
			}
		})
	}
}

// TestChangesInSequenceAreOneChange compares two changes one after the other with what Then makes of them.
func TestChangesInSequenceAreOneChange(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	change := func(p *PackedSet) SetDelta { // which holds what is said of a SetDelta
		d, has := SetDelta{Name: "s"}, slices.Collect(p.Nets())
		for range r.IntN(6) {
			if m := randomNet(r); slices.Contains(has, m) {
				d.RemovedNets = append(d.RemovedNets, m)
			} else {
				d.AddedNets = append(d.AddedNets, m)
			}
		}
		for range min(len(has), r.IntN(6)) {
			d.RemovedNets = append(d.RemovedNets, has[r.IntN(len(has))])
		}
		for _, list := range []*[]netip.Prefix{&d.AddedNets, &d.RemovedNets} {
			slices.SortFunc(*list, netip.Prefix.Compare)
			*list = slices.Compact(*list)
		}
		return d
	}
	set := Pack(&IPSet{Name: "s", Type: SetNet})
	for range 1000 {
		a := change(set)
		middle := set.With(&a)
		b := change(middle)
		both, after := a.Then(b), middle.With(&b)
		if set.With(&both).Hash() != after.Hash() {
			t.Fatalf("%v and then %v is not %v", a, b, both)
		}
		for _, m := range both.AddedNets {
			if slices.Contains(slices.Collect(set.Nets()), m) || slices.Contains(both.RemovedNets, m) {
				t.Fatalf("%v and then %v gives %v, which adds what was there or goes", a, b, both)
			}
		}
		set = after
	}
}
