package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/test/apiserver"
)

// between does something after the first block is created, and may lose the answer.
type between struct {
	datastore.Store
	do   func()
	lost error
}

func (b *between) Create(ctx context.Context, kind datastore.Kind, obj datastore.Object) (datastore.Object, error) {
	created, err := b.Store.Create(ctx, kind, obj)
	if do := b.do; kind == datastore.IPAMBlocks && do != nil {
		b.do = nil
		do()
		return created, errors.Join(err, b.lost)
	}
	return created, err
}

// assigned gives the handle of each address that is assigned.
func assigned(t *testing.T, store datastore.Store) map[netip.Addr]string {
	t.Helper()
	list, err := store.List(t.Context(), datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[netip.Addr]string{}
	for _, item := range list.Items {
		allocations, err := block.Allocations(item.(*v3.IPAMBlock))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range allocations {
			if other := found[a.Addr]; other != "" {
				t.Errorf("%s is assigned to %s and to %s", a.Addr, other, a.Handle)
			}
			found[a.Addr] = a.Handle
		}
	}
	return found
}

// TestIPAM does on a real API server what the tests of package ipam do in memory: its validation, its conflicts and its
// revisions are what IPAM's writes rest on.
func TestIPAM(t *testing.T) {
	store, err := kubernetes.New(apiserver.Start(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	a, b := ipam.Host{Name: "a"}, ipam.Host{Name: "b"}
	pool := []ipam.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.9.0.0/26"), BlockSize: 26}}
	half := []ipam.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.9.0.0/26"), BlockSize: 27}}
	requests := func(from, count int) []ipam.Request {
		var list []ipam.Request
		for i := range count {
			list = append(list, ipam.Request{Handle: fmt.Sprint("h", from+i), Families: []ipam.Family{ipam.IPv4}})
		}
		return list
	}
	isGone := func(context.Context) (bool, error) { return true, nil }
	tests := map[string]func(t *testing.T){
		"blocks of two sizes": func(t *testing.T) {
			race := func() { ipam.New(store).Assign(t.Context(), b, half, requests(500, 32)) }
			ipam.New(&between{Store: store, do: race}).Assign(t.Context(), a, pool, requests(0, 64))
			if len(assigned(t, store)) == 0 { // which finds what is assigned twice
				t.Error("nobody got an address")
			}
		},
		"a crash while a block is claimed": func(t *testing.T) {
			lost := &between{Store: store, do: func() {}, lost: errors.New("crashed")}
			if r := ipam.New(lost).Assign(t.Context(), a, pool, requests(0, 1))[0]; !errors.Is(r.Err, lost.lost) {
				t.Fatalf("assigned %v, %v", r.Addrs(), r.Err)
			}
			r := ipam.New(store).Assign(t.Context(), a, pool, requests(1, 1))[0]
			if got := assigned(t, store); r.Err != nil || len(got) != 1 {
				t.Errorf("%v; assigned %v", r.Err, got)
			}
		},
		"a node that is back while it is released": func(t *testing.T) {
			agent := ipam.New(store)
			agent.Assign(t.Context(), a, pool, requests(0, 3))
			released, err := ipam.New(store).ReleaseHost(t.Context(), "a", func(ctx context.Context) (bool, error) {
				return true, agent.Assign(ctx, a, pool, requests(100, 1))[0].Err
			})
			if got := assigned(t, store); err != nil || len(released) != 3 || len(got) != 1 {
				t.Errorf("released %v, %v; left is %v", released, err, got)
			}
		},
		"blocks that are lost": func(t *testing.T) {
			client, pods := ipam.New(store), requests(0, 3)
			for i, r := range client.Assign(t.Context(), a, pool, pods) {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				pods[i].Addrs = r.Addrs()
			}
			before := assigned(t, store)
			list, err := store.List(t.Context(), datastore.IPAMBlocks, datastore.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range list.Items {
				if err := store.Delete(t.Context(), datastore.IPAMBlocks, datastore.KeyOf(item),
					datastore.Preconditions{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(client.Reassert(t.Context(), a, pool, pods)...); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, assigned(t, store), cmp.Comparer(func(x,
				y netip.Addr) bool {
				return x == y
			})); diff != "" {
				t.Errorf("assigned (-before +after):\n%s", diff)
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test(t)
			for _, node := range []string{"a", "b"} {
				if _, err := ipam.New(store).ReleaseHost(t.Context(), node, isGone); err != nil {
					t.Error(err)
				}
			}
			for _, kind := range []datastore.Kind{datastore.IPAMBlocks, datastore.BlockAffinities} {
				if list, err := store.List(t.Context(), kind, datastore.ListOptions{}); err != nil ||
					len(list.Items) > 0 {
					t.Errorf("left behind %d %s, %v", len(list.Items), kind, err)
				}
			}
		})
	}
}
