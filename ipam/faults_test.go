package ipam

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam/block"
)

// TestEveryFaultAtEveryWrite interrupts a claim, a warm assignment and a borrowing at each
// of their writes, and then asks again, as an agent does: with the same client, or after a
// crash with a new one.
func TestEveryFaultAtEveryWrite(t *testing.T) {
	small := []Pool{{Name: "small", CIDR: prefix("10.0.0.0/29"), BlockSize: 30}}
	situations := map[string]struct {
		writes  int
		prepare func(c *Client)
	}{
		"claim":  {4, func(*Client) {}},
		"warm":   {1, func(c *Client) { assign(t, c, nodeA, small, pods(10, 1, IPv4)...) }},
		"borrow": {1, func(c *Client) { assign(t, New(c.store), nodeB, small, pods(20, 5, IPv4)...) }},
	}
	for name, situation := range situations {
		for at := range situation.writes {
			for kind, what := range map[fault]string{conflict: "conflict", lostAnswer: "lost answer",
				crashBefore: "crash before", crashAfter: "crash after"} {
				t.Run(fmt.Sprint(name, "/", what, " write ", at), func(t *testing.T) {
					store := memory.New()
					faulty := newFaults(store, 0, 0)
					c := New(faulty)
					situation.prepare(c)
					faulty.script = append(make([]fault, at), kind)
					first := c.Assign(t.Context(), nodeA, small, pods(0, 1, IPv4))[0]
					if faulty.crashed() {
						c = New(store)
					}
					again := assign(t, c, nodeA, small, pods(0, 1, IPv4)...)
					if first.Err == nil && first.Leases[0].Addr != again[0][0] {
						t.Errorf("got %s, then %s", first.Leases[0].Addr, again[0][0])
					}
					held := 0
					for _, b := range blocksOf(t, store) {
						held += len(b.HeldBy("a", "k8s-pod-network.0"))
					}
					if held != 1 {
						t.Errorf("the handle holds %d addresses", held)
					}
					// A confirmation that was lost is made up for by the next reading.
					New(store).Assign(t.Context(), nodeA, small, nil)
					if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" {
						t.Errorf("affinities (-by blocks +stored):\n%s", diff)
					}
				})
			}
		}
	}
}

// TestLostAnswerIsNotForgotten: a block was created, the answer got lost, and before the
// request is repeated there is room in another block.
func TestLostAnswerIsNotForgotten(t *testing.T) {
	store := newFaults(memory.New(), 0, 0)
	c, pools := New(store), []Pool{{Name: "small", CIDR: prefix("10.0.0.0/29"), BlockSize: 30}}
	assign(t, c, nodeA, pools, pods(0, 4, IPv4)...)
	store.script = []fault{none, lostAnswer}
	if result := c.Assign(t.Context(), nodeA, pools, pods(4, 1, IPv4))[0]; !errors.Is(result.Err,
		datastore.ErrUnavailable) {
		t.Fatalf("error %v", result.Err)
	}
	if _, err := c.Release(t.Context(), "a", "k8s-pod-network.0"); err != nil {
		t.Fatal(err)
	}
	assign(t, c, nodeA, pools, pods(4, 1, IPv4)...)
	held := 0
	for _, b := range blocksOf(t, store) {
		held += len(b.HeldBy("a", "k8s-pod-network.4"))
	}
	if held != 1 {
		t.Errorf("the handle holds %d addresses", held)
	}
}

// TestTwoClientsOneHandle: an agent that is on its way out and its successor both carry
// out the same request.
func TestTwoClientsOneHandle(t *testing.T) {
	store := memory.New()
	old, successor, pools := New(store), New(store), []Pool{pool4}
	assign(t, old, nodeA, pools, pods(0, 1, IPv4)...)
	want := assign(t, successor, nodeA, pools, pods(1, 1, IPv4)...)
	if got := assign(t, old, nodeA, pools, pods(1, 1, IPv4)...); got[0][0] != want[0][0] {
		t.Errorf("the handle got %s and %s", want[0][0], got[0][0])
	}
}

// racer lets another host be faster: it does something before the first block is created.
type racer struct {
	datastore.Store
	before func()
}

func (r *racer) Create(ctx context.Context, kind datastore.Kind, obj datastore.Object) (datastore.Object, error) {
	if do := r.before; kind == datastore.IPAMBlocks && do != nil {
		r.before = nil
		do()
	}
	return r.Store.Create(ctx, kind, obj)
}

func TestLostClaimLeavesNothing(t *testing.T) {
	store := memory.New()
	pools := []Pool{{Name: "one block", CIDR: prefix("10.0.0.0/30"), BlockSize: 30}}
	slow := &racer{Store: store, before: func() { assign(t, New(store), nodeB, pools, pods(10, 1, IPv4)...) }}
	if got := assign(t, New(slow), nodeA, pools, pods(0, 1, IPv4)...); got[0][0] != addr("10.0.0.1") {
		t.Errorf("borrowed %s", got[0][0])
	}
	if diff := cmp.Diff([]string{"b 10.0.0.0/30 confirmed"}, affinitiesOf(t, store)); diff != "" {
		t.Errorf("affinities (-want +got):\n%s", diff)
	}
}

// TestForeignBlocks: blocks that are not for nodes, and blocks that make no sense, give
// nothing, and nothing else is made of their addresses.
func TestForeignBlocks(t *testing.T) {
	store := memory.New()
	pools := []Pool{{Name: "small", CIDR: prefix("10.0.0.0/29"), BlockSize: 30}}
	virtual := block.New(prefix("10.0.0.0/30"), "", epoch)
	virtual.Spec.Affinity = "virtual:load-balancer"
	broken := &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: "10-0-0-4-30"}, Spec: v3.IPAMBlockSpec{
		CIDR: "10.0.0.4/30", Allocations: []*int{nil}, Unallocated: []int{0}, Attributes: []v3.AllocationAttribute{}}}
	for _, b := range []*v3.IPAMBlock{virtual.IPAMBlock, broken} {
		if _, err := store.Create(t.Context(), datastore.IPAMBlocks, b); err != nil {
			t.Fatal(err)
		}
	}
	if result := New(store).Assign(t.Context(), nodeA, pools, pods(0, 1, IPv4))[0]; !errors.Is(result.Err,
		ErrNoAddress) {
		t.Errorf("got %v, %v", result.Leases, result.Err)
	}
}
