package hub

import (
	"net/netip"
	"testing"

	"github.com/maneki-net/maneki/typha/wire"
)

// TestCatalogIsSortedAndShared compares a catalog with a map, and an earlier one with what it was.
func TestCatalogIsSortedAndShared(t *testing.T) {
	var c catalog
	want := map[wire.ID]*Object{}
	var before catalog
	for i := range 3000 {
		id := (&wire.Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i * 7 % 11), byte(i * 31 % 251), 0}),
			26)}).ID()
		if i%5 == 4 {
			c = c.without(id)
			delete(want, id)
		} else {
			o := &Object{id: id, revision: uint64(i)}
			c, want[id] = c.with(o), o
		}
		if i == 1500 {
			before = c
		}
	}
	held, last := before.count(), wire.ID{}
	for _, s := range c {
		if len(s.objects) == 0 || len(s.objects) > shelfSize {
			t.Errorf("a shelf of %d", len(s.objects))
		}
		for _, o := range s.objects {
			if want[o.id] != o || last.Compare(o.id) >= 0 {
				t.Errorf("%s is not in its place", o.id)
			}
			last = o.id
		}
	}
	if c.count() != len(want) || before.count() != held || held == 0 {
		t.Errorf("%d objects, want %d", c.count(), len(want))
	}
	for _, o := range want {
		c = c.without(o.id)
	}
	if len(c) != 0 {
		t.Errorf("%d shelves are left", len(c))
	}
}
