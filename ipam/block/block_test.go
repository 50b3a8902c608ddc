package block

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func anyAddr(netip.Addr) bool { return true }

// TestBlockFormat holds the stored form to Calico's: names and types of fields, indices
// into attributes, the queue of unallocated ordinals, sequence numbers by ordinal.
func TestBlockFormat(t *testing.T) {
	b := New(prefix("10.244.0.0/29"), "node-1", epoch)
	pod := map[string]string{v3.AttributeNamespace: "shop", v3.AttributePod: "web-0", v3.AttributeNode: "node-1",
		v3.AttributeUID: "0b5e"}
	b.Assign("k8s-pod-network.c1", pod, anyAddr)
	b.Assign("k8s-pod-network.c2", map[string]string{v3.AttributeNode: "node-1"}, anyAddr)
	b.Spec.SequenceNumber++
	if _, err := b.AssignAddr(addr("10.244.0.6"), "k8s-pod-network.c3",
		map[string]string{v3.AttributeNode: "node-2"}); err != nil {
		t.Fatal(err)
	}
	b.Assign("k8s-pod-network.c1", pod, anyAddr)
	b.Spec.SequenceNumber++
	b.Release(func(a Allocation) bool { return a.Handle == "k8s-pod-network.c2" })

	got, err := json.MarshalIndent(b.IPAMBlock, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "block.json")
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("stored form (-want +got):\n%s", diff)
	}
}

// TestBlockAgainstOracle carries out random operations on a block and on a plain map.
func TestBlockAgainstOracle(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cidr := []netip.Prefix{prefix("10.0.0.16/28"), prefix("fd00::f0/124")}[seed%2]
		b := New(cidr, "n", epoch)
		oracle := map[netip.Addr]string{}
		for step := range 100 {
			b.Spec.SequenceNumber++
			handle := fmt.Sprint("h", rng.IntN(6))
			switch rng.IntN(3) {
			case 0:
				lease, ok := b.Assign(handle, map[string]string{"k": fmt.Sprint(rng.IntN(2))}, anyAddr)
				if ok != (len(oracle) < 16) || ok && (oracle[lease.Addr] != "" || !cidr.Contains(lease.Addr)) {
					t.Fatalf("seed %d step %d: assign gave %v, %v with %d in use", seed, step, lease, ok, len(oracle))
				}
				if ok {
					oracle[lease.Addr] = handle
				}
			case 1:
				want := nth(cidr.Addr(), rng.Uint64N(16))
				_, err := b.AssignAddr(want, handle, nil)
				if errors.Is(err, ErrInUse) != (oracle[want] != "") {
					t.Fatalf("seed %d step %d: assign %s: %v, owner %q", seed, step, want, err, oracle[want])
				}
				if err == nil {
					oracle[want] = handle
				}
			case 2:
				for _, lease := range b.Release(func(a Allocation) bool { return a.Handle == handle }) {
					if oracle[lease.Addr] != handle {
						t.Fatalf("seed %d step %d: released %v of %q", seed, step, lease, oracle[lease.Addr])
					}
					delete(oracle, lease.Addr)
				}
			}
			checkBlock(t, b, oracle)
		}
	}
}

func checkBlock(t *testing.T, b Block, oracle map[netip.Addr]string) {
	t.Helper()
	got := map[netip.Addr]string{}
	used := map[int]bool{}
	for _, a := range b.Allocations(func(Allocation) bool { return true }) {
		got[a.Addr] = a.Handle
		used[*b.Spec.Allocations[b.ordinal(a.Addr)]] = true
	}
	if diff := cmp.Diff(oracle, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Fatalf("allocations (-want +got):\n%s", diff)
	}
	if b.Free() != len(b.Spec.Allocations)-len(oracle) || len(used) != len(b.Spec.Attributes) ||
		len(b.Spec.SequenceNumberForAllocation) != len(oracle) {
		t.Fatalf("%d free, %d attributes of which %d used, %d sequence numbers, with %d in use",
			b.Free(), len(b.Spec.Attributes), len(used), len(b.Spec.SequenceNumberForAllocation), len(oracle))
	}
	before := append([]int(nil), b.Spec.Unallocated...)
	if _, err := Parse(b.IPAMBlock); err != nil || !slices.Equal(before, b.Spec.Unallocated) {
		t.Fatalf("a block made here does not parse as it is: %v", err)
	}
}

func TestParseBlock(t *testing.T) {
	one, nine := 0, 9
	tests := map[string]struct {
		change func(*v3.IPAMBlockSpec)
		bad    bool
		free   []int
	}{
		"sound":             {func(*v3.IPAMBlockSpec) {}, false, []int{1, 2, 3}},
		"wrong length":      {func(s *v3.IPAMBlockSpec) { s.Allocations = s.Allocations[:3] }, true, nil},
		"no CIDR":           {func(s *v3.IPAMBlockSpec) { s.CIDR = "10.0.0.0" }, true, nil},
		"host bits":         {func(s *v3.IPAMBlockSpec) { s.CIDR = "10.0.0.1/30" }, true, nil},
		"attribute missing": {func(s *v3.IPAMBlockSpec) { s.Allocations[2] = &nine }, true, nil},
		"allocated and free": {func(s *v3.IPAMBlockSpec) { s.Unallocated = []int{0, 2, 1, 3} }, false,
			[]int{2, 1, 3}},
		"free twice": {func(s *v3.IPAMBlockSpec) { s.Unallocated = []int{3, 3, 7, -1, 2, 1} }, false,
			[]int{3, 2, 1}},
		"neither free nor not": {func(s *v3.IPAMBlockSpec) { s.Unallocated = []int{3} }, false, []int{3, 1, 2}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := New(prefix("10.0.0.0/30"), "n", epoch)
			b.Assign("h", nil, anyAddr)
			b.Spec.Allocations[0] = &one
			test.change(&b.Spec)
			parsed, err := Parse(b.IPAMBlock)
			if (err != nil) != test.bad {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(test.free, parsed.unallocated()); err == nil && diff != "" {
				t.Errorf("unallocated (-want +got):\n%s", diff)
			}
		})
	}
}

func (b Block) unallocated() []int {
	if b.IPAMBlock == nil {
		return nil
	}
	return b.Spec.Unallocated
}

func TestSpace(t *testing.T) {
	tests := []struct {
		name, pool string
		bits       int
		existing   []string
		free       int // up to 1000
	}{
		{"whole pool", "10.0.0.0/24", 26, nil, 4},
		{"some taken", "10.0.0.0/24", 26, []string{"10.0.0.64/26", "10.0.1.0/26"}, 3},
		{"smaller blocks of an earlier pool", "10.0.0.0/24", 26, []string{"10.0.0.64/30", "10.0.0.72/30"}, 3},
		{"larger block of an earlier pool", "10.0.0.0/24", 28, []string{"10.0.0.64/26"}, 12},
		{"block as large as the pool", "10.0.0.0/24", 28, []string{"10.0.0.0/24"}, 0},
		{"block larger than the pool", "10.0.1.0/24", 28, []string{"10.0.0.0/20"}, 0},
		{"pool of one block", "10.0.0.0/26", 26, nil, 1},
		{"IPv6", "fd00:1::/120", 122, []string{"fd00:1::40/122"}, 3},
		{"large IPv6", "fd00:1::/48", 122, []string{"fd00:1::40/122"}, 1000},
		{"whole IPv4", "0.0.0.0/0", 32, nil, 1000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var taken []netip.Prefix
			for _, s := range test.existing {
				taken = append(taken, prefix(s))
			}
			pool := prefix(test.pool)
			s := NewSpace(pool, test.bits, taken)
			count := 0
			for count < 1000 {
				cidr, ok := s.Pick("node-1", nil)
				if !ok {
					break
				}
				count++
				if !pool.Contains(cidr.Addr()) || cidr.Bits() != test.bits || cidr != cidr.Masked() {
					t.Fatalf("picked %s in pool %s", cidr, pool)
				}
				for _, other := range taken {
					if other.Overlaps(cidr) {
						t.Fatalf("picked %s, which overlaps %s", cidr, other)
					}
				}
				taken = append(taken, cidr)
			}
			if count != test.free {
				t.Errorf("picked %d blocks, want %d", count, test.free)
			}
		})
	}
}
