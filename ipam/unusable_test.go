package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

// withUnusable has one block that cannot be decoded.
type withUnusable struct {
	datastore.Store
	name string
}

func (w withUnusable) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List,
	error) {
	list, err := w.Store.List(ctx, kind, opts)
	if kind == datastore.IPAMBlocks {
		list.Unusable = append(list.Unusable, datastore.Unusable{Key: datastore.Key{Name: w.name},
			Err: datastore.ErrUnusable})
	}
	return list, err
}

// TestUnusableBlockStaysCovered: also when the pool's blocks are of another size now, so that no name collides.
func TestUnusableBlockStaysCovered(t *testing.T) {
	covered := prefix("10.0.0.4/30")
	pools := []Pool{{Name: "four", CIDR: prefix("10.0.0.0/28"), BlockSize: 31}}
	client := New(withUnusable{memory.New(), v3.BlockName(covered)})
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
	if r := client.Assign(t.Context(), Host{Name: "n1"}, pools, pods(0, 1, IPv4))[0]; r.Err != nil {
		t.Errorf("what has no block's name stops everybody: %v", r.Err)
	}
}

// TestDamagedBlockHurtsOnlyItself: its range is what its name says, nothing is given from it, and other blocks are
// claimed. Who finds no address is told of it. So it is when the client remembers the block as it was.
func TestDamagedBlockHurtsOnlyItself(t *testing.T) {
	damages := map[string]func(*v3.IPAMBlock){
		"spec.CIDR":         func(b *v3.IPAMBlock) { b.Spec.CIDR = "10.9.0.0" },
		"spec.CIDR of more": func(b *v3.IPAMBlock) { b.Spec.CIDR = "0.0.0.0/0" },
		"allocations":       func(b *v3.IPAMBlock) { b.Spec.Allocations = b.Spec.Allocations[1:] },
		"attributes":        func(b *v3.IPAMBlock) { b.Spec.Attributes = nil },
	}
	pools := []Pool{{Name: "p", CIDR: prefix("10.9.0.0/29"), BlockSize: 30}}
	for damage, do := range damages {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprint(damage, ", remembered ", warm), func(t *testing.T) {
				store := memory.New()
				c := New(store)
				assign(t, c, nodeA, pools, pods(0, 1, IPv4)...)
				var covered netip.Prefix
				for _, b := range blocksOf(t, store) {
					covered = b.CIDR
					do(b.IPAMBlock)
					if _, err := store.Update(t.Context(), datastore.IPAMBlocks, b.IPAMBlock); err != nil {
						t.Fatal(err)
					}
				}
				if !warm {
					c = New(store)
				}
				for i := range 4 { // one after another: the first may find out what is remembered wrongly
					addrs := assign(t, c, nodeA, pools, pods(10+i, 1, IPv4)...)
					if covered.Contains(addrs[0][0]) {
						t.Errorf("%s is of the damaged block", addrs[0][0])
					}
				}
				r := c.Assign(t.Context(), nodeA, pools, pods(20, 1, IPv4))[0]
				if !errors.Is(r.Err, ErrNoAddress) || !strings.Contains(r.Err.Error(),
					"IPAMBlock "+v3.BlockName(covered)) {
					t.Errorf("got %v, %v", r.Addrs(), r.Err)
				}
				if _, err := c.Release(t.Context(), "a", "k8s-pod-network.0", "k8s-pod-network.10"); err != nil {
					t.Errorf("release: %v", err)
				}
			})
		}
	}
}
