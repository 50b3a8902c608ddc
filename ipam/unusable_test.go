package ipam

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

// withUnusable has one block that cannot be decoded.
type withUnusable struct {
	datastore.Store
	name string
}

func (w withUnusable) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	list, err := w.Store.List(ctx, kind, opts)
	if kind == datastore.IPAMBlocks {
		list.Unusable = append(list.Unusable, datastore.Unusable{Key: datastore.Key{Name: w.name}, Err: datastore.ErrUnusable})
	}
	return list, err
}

// TestUnusableBlockStaysCovered: also when the pool's blocks are of another size now, so that no name collides.
func TestUnusableBlockStaysCovered(t *testing.T) {
	covered := prefix("10.0.0.4/30")
	pools := []Pool{{Name: "four", CIDR: prefix("10.0.0.0/28"), BlockSize: 31}}
	client := New(withUnusable{memory.New(), BlockName(covered)})
	given := 0
	for _, r := range client.Assign(t.Context(), Host{Name: "n1"}, pools, pods(0, 16, IPv4)) {
		for _, addr := range r.Addrs() {
			given++
			if covered.Contains(addr) {
				t.Errorf("%s is in a block that cannot be read", addr)
			}
		}
	}
	if given != 12 {
		t.Errorf("%d of 12 addresses beside it are given", given)
	}
	client = New(withUnusable{memory.New(), "what"})
	if r := client.Assign(t.Context(), Host{Name: "n1"}, pools, pods(0, 1, IPv4))[0]; !errors.Is(r.Err, datastore.ErrUnusable) {
		t.Errorf("a block that may cover anything gives %v, %v", r.Addrs(), r.Err)
	}
}

func TestBlockCIDR(t *testing.T) {
	for _, text := range []string{"10.244.0.0/26", "fd00:65::/122", "::/122", "fd00:1:2:3:4:5:6:780/122"} {
		cidr := netip.MustParsePrefix(text)
		if got, ok := blockCIDR(BlockName(cidr)); !ok || got != cidr {
			t.Errorf("%s gives %s, %t", BlockName(cidr), got, ok)
		}
	}
	for _, name := range []string{"", "10", "a-b", "10-0-0-0-99", "10-0-0-0", "10.0.0.0-26"} {
		if got, ok := blockCIDR(name); ok {
			t.Errorf("%q gives %s", name, got)
		}
	}
}
