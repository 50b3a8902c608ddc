package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// limit bounds what a test waits for.
const limit = 2 * time.Minute

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, config etcd.Config) *etcd.Store {
	t.Helper()
	s, err := etcd.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// book is who has which address, by what the nodes were told.
type book struct {
	mu     sync.Mutex
	owners map[netip.Addr]string
}

// TestNeverTwoOwners has nodes assign and release at once in a pool that is too small for them, while the leader of
// etcd is killed. No address has two owners, and what is stored is what the nodes were told.
func TestNeverTwoOwners(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{Members: 3})
	ctx := bounded(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	pools := []ipam.Pool{{Name: "pool", CIDR: netip.MustParsePrefix("10.0.0.0/26"), BlockSize: 29}}
	known := book{owners: map[netip.Addr]string{}}
	var changed atomic.Bool // the leader of etcd
	group, ctx := errgroup.WithContext(ctx)
	for i := range uint64(4) {
		client := ipam.New(open(t, server.Config))
		random := rand.New(rand.NewPCG(seed, i))
		host := ipam.Host{Name: fmt.Sprint("n", i)}
		group.Go(func() error {
			for n := 0; n < 60 || !changed.Load(); n++ {
				if err := known.step(ctx, client, host, pools, fmt.Sprintf("%s/%d", host.Name, random.IntN(20)),
					random.IntN(3) == 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	leader, _ := server.Leader(t)
	server.Kill(leader)
	if now, _ := server.Leader(t); now == leader {
		t.Fatalf("member %d still leads", now)
	}
	changed.Store(true)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	stored := map[netip.Addr]string{}
	list, err := open(t, server.Config).List(bounded(t), datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Items {
		allocations, err := block.Allocations(o.(*v3.IPAMBlock))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range allocations {
			stored[a.Addr] = a.Handle
		}
	}
	for addr, owner := range known.owners {
		if stored[addr] != owner {
			t.Errorf("%s of %s is stored for %q", addr, owner, stored[addr])
		}
	}
	if len(known.owners) == 0 {
		t.Error("nobody has an address")
	}
}

// step assigns an address to a handle, or releases it. An answer that is lost is asked for again.
func (b *book) step(ctx context.Context, client *ipam.Client, host ipam.Host, pools []ipam.Pool, handle string,
	release bool) error {
	if release {
		b.mu.Lock()
		for addr, owner := range b.owners {
			if owner == handle {
				delete(b.owners, addr)
			}
		}
		b.mu.Unlock()
		for {
			_, err := client.Release(ctx, host.Name, handle)
			if err == nil || !errors.Is(err, datastore.ErrUnavailable) {
				return err
			}
		}
	}
	for {
		result := client.Assign(ctx, host, pools, []ipam.Request{{Handle: handle,
			Families: []ipam.Family{ipam.IPv4}}})[0]
		switch {
		case errors.Is(result.Err, datastore.ErrUnavailable):
			continue
		case errors.Is(result.Err, ipam.ErrNoAddress):
			return nil
		case result.Err != nil:
			return result.Err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, addr := range result.Addrs() {
			if owner, ok := b.owners[addr]; ok && owner != handle {
				return fmt.Errorf("%s was given to %s and to %s", addr, owner, handle)
			}
			b.owners[addr] = handle
		}
		return nil
	}
}
