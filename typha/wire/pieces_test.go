package wire

import (
	"net/netip"
	"testing"
)

// TestAnotherVersionIsAssembledFromPieces: of a large set that changed a little, little is sent.
func TestAnotherVersionIsAssembledFromPieces(t *testing.T) {
	s := &IPSet{Name: "s", Type: SetNet}
	for i := range 20_000 {
		s.Nets = append(s.Nets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
	}
	old := Pack(s)
	now := old.With(&SetDelta{AddedNets: []netip.Prefix{netip.MustParsePrefix("9.0.0.1/32")},
		RemovedNets: s.Nets[9_000:9_003]})
	pieces, useful := now.Against(old.PieceHashes())
	encoded := must(Encode(pieces))
	var got SetPieces
	if err := Decode(encoded, &got); err != nil || !useful {
		t.Fatalf("useful %v, %v", useful, err)
	}
	again, err := got.Assemble(old)
	if err != nil || again.Hash() != now.Hash() || again.Len() != now.Len() || again.Size() != now.Size() {
		t.Errorf("assembled %v, %v", again, err)
	}
	if len(encoded) > now.Size()/4 {
		t.Errorf("%d octets for a set of %d", len(encoded), now.Size())
	}
	if _, err := got.Assemble(old.With(&SetDelta{RemovedNets: s.Nets[:5_000]})); err == nil {
		t.Error("pieces of another version than was said made a set")
	}
	for _, bad := range []SetPiece{{Held: 1 << 20}, {Held: -1}, {Members: []byte{net4Head, 10}},
		{Members: []byte{net4Head, 10, 0, 0, 1, 77}}} {
		if _, err := (&SetPieces{Type: SetNet, Pieces: []SetPiece{bad}}).Assemble(old); err == nil {
			t.Errorf("%v made a set", bad)
		}
	}
	if _, useful := now.Against(Pack(&IPSet{Type: SetNet}).PieceHashes()); useful {
		t.Error("nothing held is of use")
	}
}
