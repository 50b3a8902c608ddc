package ipam

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
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

func (s *interposed) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, pre datastore.Preconditions) error {
	s.once(kind, &s.beforeDelete)
	return s.Store.Delete(ctx, kind, key, pre)
}

// holders gives the handle of each address that is assigned.
func holders(t *testing.T, store datastore.Store) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, b := range blocksOf(t, store) {
		for _, a := range b.allocations(everything) {
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
	points := map[string]func(store datastore.Store, back func()) (datastore.Store, func(context.Context) (bool, error)){
		"when it is judged": func(s datastore.Store, back func()) (datastore.Store, func(context.Context) (bool, error)) {
			return s, func(context.Context) (bool, error) { back(); return true, nil }
		},
		"when its affinity is marked": func(s datastore.Store, back func()) (datastore.Store, func(context.Context) (bool, error)) {
			return &interposed{Store: s, kind: datastore.BlockAffinities, beforeUpdate: back}, isGone
		},
		"when its block is written": func(s datastore.Store, back func()) (datastore.Store, func(context.Context) (bool, error)) {
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
						if b.host() != "a" {
							t.Errorf("block %s, in which the node has a pod, is that of %q", name, b.host())
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
		released, err := New(store).ReleaseHost(t.Context(), "a", func(context.Context) (bool, error) { return false, answer })
		if len(released) > 0 || !errors.Is(err, answer) {
			t.Errorf("released %v, %v", released, err)
		}
	}
	if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" || len(holders(t, store)) != 1 {
		t.Errorf("assigned %v, affinities (-by blocks +stored):\n%s", holders(t, store), diff)
	}
}

// TestMarkedAffinityIsTakenBack: a release that died after its first write left the mark. The node that is back writes its
// block before it uses it, so that the release, if it is only slow, finds it changed.
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
	if diff := cmp.Diff(map[string]int{"create BlockAffinity": 1, "update BlockAffinity": 2, "update IPAMBlock": 1}, counted.take()); diff != "" {
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
