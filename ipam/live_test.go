package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam/block"
)

// lose takes allocations, or whole blocks, out of the datastore behind the clients' backs.
func lose(t *testing.T, store datastore.Store, whole bool) {
	t.Helper()
	for name, b := range blocksOf(t, store) {
		var err error
		if whole {
			err = store.Delete(t.Context(), datastore.IPAMBlocks, datastore.Key{Name: name}, datastore.Preconditions{})
		} else {
			b.Release(everything)
			_, err = store.Update(t.Context(), datastore.IPAMBlocks, b.IPAMBlock)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLiveAddressIsGivenToNobodyElse although the datastore has lost that somebody has it.
func TestLiveAddressIsGivenToNobodyElse(t *testing.T) {
	for _, whole := range []bool{false, true} {
		store := memory.New()
		c, pools := New(store), []Pool{{Name: "small", CIDR: prefix("10.0.0.0/30"), BlockSize: 30}}
		var live []block.Lease
		c.SetLive(func() []block.Lease { return live })
		for _, r := range c.Assign(t.Context(), nodeA, pools, pods(0, 2, IPv4)) {
			live = append(live, r.Leases...)
		}
		lose(t, store, whole)
		given := 0
		for _, r := range c.Assign(t.Context(), nodeA, pools, pods(10, 4, IPv4)) {
			for _, addr := range r.Addrs() {
				given++
				if slices.ContainsFunc(live, func(l block.Lease) bool { return l.Addr == addr }) {
					t.Errorf("block lost %t: %s is given to a second pod", whole, addr)
				}
			}
		}
		if given != 2 {
			t.Errorf("block lost %t: %d of the 2 free addresses are given", whole, given)
		}
		r := c.Assign(t.Context(), nodeA, pools, []Request{{Handle: "wants", Addrs: []netip.Addr{live[0].Addr}}})[0]
		if !errors.Is(r.Err, block.ErrInUse) || !strings.Contains(r.Err.Error(), live[0].Handle) {
			t.Errorf("block lost %t: the very address: %v, %v", whole, r.Addrs(), r.Err)
		}
		if addr, err := c.EnsureTunnelAddress(t.Context(), nodeA, pools, encap.VXLAN, IPv4); !errors.Is(err,
			ErrNoAddress) {
			t.Errorf("block lost %t: the tunnel gets %s, %v", whole, addr, err)
		}
	}
}

func TestReassert(t *testing.T) {
	pools := []Pool{{Name: "four", CIDR: prefix("10.0.0.0/28"), BlockSize: 30},
		{Name: "six", CIDR: prefix("fd00::/124"), BlockSize: 126}}
	kept := pools
	closed := []Pool{pools[0], pools[1]}
	for i := range closed {
		closed[i].Disabled, closed[i].AllowedUses = true, []Use{Tunnel}
	}
	tests := map[string]struct {
		lose   func(t *testing.T, store datastore.Store)
		pools  []Pool
		writes map[string]int
		inUse  bool
	}{
		"nothing is lost": {func(*testing.T, datastore.Store) {}, kept, map[string]int{}, false},
		"allocations are lost": {func(t *testing.T, s datastore.Store) { lose(t, s, false) }, kept,
			map[string]int{"update IPAMBlock": 2}, false},
		"blocks are lost": {func(t *testing.T, s datastore.Store) { lose(t, s, true) }, kept,
			map[string]int{"create BlockAffinity": 2, "create IPAMBlock": 2, "update IPAMBlock": 2,
				"update BlockAffinity": 4}, false},
		"the pools are closed by now": {func(t *testing.T, s datastore.Store) { lose(t, s, false) }, closed,
			map[string]int{"update IPAMBlock": 2}, false},
		"another node was faster": {func(t *testing.T, s datastore.Store) {
			lose(t, s, true)
			assign(t, New(s), nodeB, pools[:1], pods(50, 16, IPv4)...)
		}, kept, nil, true},
	}
	for name, test := range tests {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %t", name, restarted), func(t *testing.T) {
				store := newFaults(memory.New(), 0, 0)
				c := New(store)
				requests := pods(0, 3, IPv4, IPv6)
				for i, addrs := range assign(t, c, nodeA, pools, requests...) {
					requests[i].Addrs = addrs
				}
				before := holders(t, store)
				test.lose(t, store.Store)
				if restarted {
					c = New(store)
				}
				store.take()
				errs := c.Reassert(t.Context(), nodeA, test.pools, requests)
				if test.inUse {
					for _, err := range errs {
						if !errors.Is(err, block.ErrInUse) || !strings.Contains(err.Error(), "pod shop/web-") ||
							!strings.Contains(err.Error(), "on node b") {
							t.Errorf("error %v", err)
						}
					}
					for _, r := range requests {
						if got := holders(t, store)[r.Addrs[1].String()]; got != r.Handle {
							t.Errorf("%s, which nobody else has, is stored for %q", r.Addrs[1], got)
						}
					}
					return
				}
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, holders(t, store)); diff != "" {
					t.Errorf("assigned (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff(test.writes, store.take()); diff != "" && !restarted {
					t.Errorf("writes (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" {
					t.Errorf("affinities (-by blocks +stored):\n%s", diff)
				}
			})
		}
	}
}
