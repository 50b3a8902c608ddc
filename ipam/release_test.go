package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/test/long"
)

// isGone confirms that a node is.
func isGone(context.Context) (bool, error) { return true, nil }

// interposed does something at the first call of an operation on a kind, before or after it.
type interposed struct {
	datastore.Store
	kind                       datastore.Kind
	beforeUpdate, beforeCreate func()
	beforeDelete, afterCreate  func()
}

func (s *interposed) once(kind datastore.Kind, do *func()) {
	if call := *do; kind == s.kind && call != nil {
		*do = nil
		call()
	}
}

func (s *interposed) Update(ctx context.Context, kind datastore.Kind, obj datastore.Object) (datastore.Object, error) {
	s.once(kind, &s.beforeUpdate)
	return s.Store.Update(ctx, kind, obj)
}

func (s *interposed) Create(ctx context.Context, kind datastore.Kind, obj datastore.Object) (datastore.Object, error) {
	s.once(kind, &s.beforeCreate)
	created, err := s.Store.Create(ctx, kind, obj)
	s.once(kind, &s.afterCreate)
	return created, err
}

func (s *interposed) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key,
	pre datastore.Preconditions) error {
	s.once(kind, &s.beforeDelete)
	return s.Store.Delete(ctx, kind, key, pre)
}

// holders gives the handle of each address that is assigned.
func holders(t *testing.T, store datastore.Store) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, b := range blocksOf(t, store) {
		for _, a := range b.Allocations(everything) {
			if other := found[a.Addr.String()]; other != "" {
				t.Errorf("%s is assigned to %s and to %s", a.Addr, other, a.Handle)
			}
			found[a.Addr.String()] = a.Handle
		}
	}
	return found
}

// TestReleaseHostSparesWhatCameLater: a node registers again while its release is under way, with the agent that it
// had, or with one that has just started; at each point of the release at which that can be.
func TestReleaseHostSparesWhatCameLater(t *testing.T) {
	points := map[string]func(store datastore.Store, back func()) (datastore.Store,
		func(context.Context) (bool, error)){
		"when it is judged": func(s datastore.Store, back func()) (datastore.Store,
			func(context.Context) (bool, error)) {
			return s, func(context.Context) (bool, error) { back(); return true, nil }
		},
		"when its affinity is marked": func(s datastore.Store, back func()) (datastore.Store,
			func(context.Context) (bool, error)) {
			return &interposed{Store: s, kind: datastore.BlockAffinities, beforeUpdate: back}, isGone
		},
		"when its block is written": func(s datastore.Store, back func()) (datastore.Store,
			func(context.Context) (bool, error)) {
			return &interposed{Store: s, kind: datastore.IPAMBlocks, beforeUpdate: back, beforeDelete: back}, isGone
		},
	}
	for point, at := range points {
		for _, restarted := range []bool{false, true} {
			for _, fresh := range []int{0, 1} {
				t.Run(fmt.Sprintf("%s, restarted %t, %d new pods", point, restarted, fresh), func(t *testing.T) {
					store := memory.New()
					agent := New(store)
					assign(t, agent, nodeA, []Pool{pool4}, pods(0, 3, IPv4)...)
					if restarted {
						agent = New(store)
					}
					want, seen := map[string]string{}, false
					during, gone := at(store, func() {
						seen = true
						for i, addrs := range assign(t, agent, nodeA, []Pool{pool4}, pods(100, fresh, IPv4)...) {
							want[addrs[0].String()] = fmt.Sprint("k8s-pod-network.", 100+i)
						}
					})
					released, err := New(during).ReleaseHost(t.Context(), "a", gone)
					if err != nil || len(released) != 3 || !seen {
						t.Fatalf("released %v, %v; the node was back: %t", released, err, seen)
					}
					if diff := cmp.Diff(want, holders(t, store)); diff != "" {
						t.Errorf("assigned afterwards (-want +got):\n%s", diff)
					}
					if fresh > 0 || restarted {
						if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" {
							t.Errorf("affinities (-by blocks +stored):\n%s", diff)
						}
					}
					for name, b := range blocksOf(t, store) {
						if b.Node() != "a" {
							t.Errorf("block %s, in which the node has a pod, is that of %q", name, b.Node())
						}
					}
					next := assign(t, agent, nodeA, []Pool{pool4}, pods(200, 1, IPv4)...)
					if got := holders(t, store)[next[0][0].String()]; got != "k8s-pod-network.200" {
						t.Errorf("the node's next pod has %s, which is stored for %q", next[0][0], got)
					}
				})
			}
		}
	}
}

// TestReleaseHostAsksFirst: a node that is not gone keeps everything, and is not marked.
func TestReleaseHostAsksFirst(t *testing.T) {
	store := memory.New()
	assign(t, New(store), nodeA, []Pool{pool4}, pods(0, 1, IPv4)...)
	unknown := errors.New("no answer")
	for _, answer := range []error{nil, unknown} {
		released, err := New(store).ReleaseHost(t.Context(), "a",
			func(context.Context) (bool, error) { return false, answer })
		if len(released) > 0 || !errors.Is(err, answer) {
			t.Errorf("released %v, %v", released, err)
		}
	}
	if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" || len(holders(t, store)) != 1 {
		t.Errorf("assigned %v, affinities (-by blocks +stored):\n%s", holders(t, store), diff)
	}
}

// TestMarkedAffinityIsTakenBack: a release that died after its first write left the mark. The node that is back writes
// its block before it uses it, so that the release, if it is only slow, finds it changed.
func TestMarkedAffinityIsTakenBack(t *testing.T) {
	store := memory.New()
	assign(t, New(store), nodeA, []Pool{pool4}, pods(0, 1, IPv4)...)
	list, err := store.List(t.Context(), datastore.BlockAffinities, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := list.Items[0].(*v3.BlockAffinity)
	a.Spec.State = v3.StatePendingDeletion
	if _, err := store.Update(t.Context(), datastore.BlockAffinities, a); err != nil {
		t.Fatal(err)
	}
	counted := newFaults(store, 0, 0)
	assign(t, New(counted), nodeA, []Pool{pool4})
	if diff := cmp.Diff(map[string]int{"create BlockAffinity": 1, "update BlockAffinity": 2, "update IPAMBlock": 1},
		counted.take()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" {
		t.Errorf("affinities (-by blocks +stored):\n%s", diff)
	}
}

// TestLeaseWithoutSequenceIsJudgedExactly: a block that Calico wrote may have no sequence numbers.
func TestLeaseWithoutSequenceIsJudgedExactly(t *testing.T) {
	store := memory.New()
	c, pools := New(store), []Pool{{Name: "one", CIDR: prefix("10.0.0.0/32"), BlockSize: 32}}
	old := c.Assign(t.Context(), nodeA, pools, pods(0, 1, IPv4))[0].Leases[0]
	old.Sequence = 0 // as judged in the block of before
	if released, err := New(store).ReleaseAddrs(t.Context(), old); err != nil || len(released) > 0 {
		t.Errorf("released %v, %v: the address was assigned anew", released, err)
	}
}

// returning is a node that goes and is back with other pods, again and again.
type returning struct {
	mu         sync.Mutex // held during a step, and while the node goes; guards everything below
	client     *Client
	generation int
}

// TestNodesThatAreBack: a controller releases nodes that are gone at the time when it asks, and back when it writes.
// No address that a node got since is lost, or is anybody else's.
func TestNodesThatAreBack(t *testing.T) {
	pools := []Pool{{Name: "small", CIDR: prefix("10.0.0.0/28"), BlockSize: 30}}
	for seed := range uint64(long.Or(2000, 100)) {
		store, shared := memory.New(), &ledger{owners: map[netip.Addr]string{}, disowned: map[netip.Addr]disowned{}}
		nodes := map[string]*returning{}
		for _, name := range []string{"n0", "n1", "n2"} {
			nodes[name] = &returning{client: New(store)}
		}
		var running sync.WaitGroup
		for i, name := range slices.Sorted(maps.Keys(nodes)) {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			running.Go(func() {
				for range 30 {
					if err := nodes[name].step(t.Context(), name, pools, shared, rng); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				}
			})
		}
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 9))
			for range 12 {
				name := fmt.Sprint("n", rng.IntN(3))
				restarts := rng.IntN(2) == 0
				_, err := New(store).ReleaseHost(t.Context(), name, func(context.Context) (bool, error) {
					nodes[name].goAndReturn(store, restarts, func() {
						shared.disown(func(handle string) bool { return strings.HasPrefix(handle, name) })
					})
					for range rng.IntN(3) { // before the release writes anything; more may follow while it does
						if err := nodes[name].step(t.Context(), name, pools, shared, rng); err != nil {
							return false, err
						}
					}
					return true, nil
				})
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
		running.Wait()
		stored := holders(t, store)
		for addr, owner := range shared.owners {
			if stored[addr.String()] != owner {
				t.Errorf("seed %d: %s of %s is lost: stored for %q", seed, addr, owner, stored[addr.String()])
			}
		}
		for name := range nodes {
			if _, err := New(store).ReleaseHost(t.Context(), name, isGone); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		if left := append(affinitiesOf(t, store), sortedNames(blocksOf(t, store))...); len(left) > 0 {
			t.Errorf("seed %d: left behind %v", seed, left)
		}
		if t.Failed() {
			return
		}
	}
}

func (n *returning) goAndReturn(store datastore.Store, restarts bool, gone func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.generation++
	gone()
	if restarts {
		n.client = New(store)
	}
}

func (n *returning) step(ctx context.Context, name string, pools []Pool, shared *ledger, rng *rand.Rand) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	handle := fmt.Sprintf("%s/%d/%d", name, n.generation, rng.IntN(4))
	if rng.IntN(3) == 0 {
		shared.disown(func(h string) bool { return h == handle })
		_, err := n.client.Release(ctx, handle)
		return err
	}
	r := n.client.Assign(ctx, Host{Name: name}, pools, []Request{{Handle: handle, Families: []Family{IPv4}}})[0]
	if r.Err == nil {
		return shared.own(handle, r.Addrs())
	}
	if errors.Is(r.Err, ErrNoAddress) {
		return nil
	}
	return r.Err
}
