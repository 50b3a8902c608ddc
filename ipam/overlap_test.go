package ipam

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/test/long"
)

// TestBlocksOfTwoSizesNeverOverlap: two nodes see a pool's block size differently, and one claims while the other does,
// at each point at which that can be.
func TestBlocksOfTwoSizesNeverOverlap(t *testing.T) {
	sizes := []int{26, 27}
	for i, size := range sizes {
		for _, point := range []string{"before the block is created", "after it", "before it is completed"} {
			t.Run(fmt.Sprintf("/%d, other %s", size, point), func(t *testing.T) {
				store := memory.New()
				pool := Pool{Name: "p", CIDR: prefix("10.9.0.0/26"), BlockSize: size}
				other := pool
				other.BlockSize = sizes[1-i]
				race := func() { New(store).Assign(t.Context(), nodeB, []Pool{other}, pods(500, 32, IPv4)) }
				slow := &interposed{Store: store, kind: datastore.IPAMBlocks}
				switch point {
				case "before the block is created":
					slow.beforeCreate = race
				case "after it":
					slow.afterCreate = race
				default:
					slow.beforeUpdate = race
				}
				New(slow).Assign(t.Context(), nodeA, []Pool{pool}, pods(0, 64, IPv4))
				if given := holders(t, store); len(given) == 0 { // which finds what is assigned twice
					t.Error("nobody got an address")
				}
				for a, x := range blocksOf(t, store) {
					for b, y := range blocksOf(t, store) {
						if a != b && x.CIDR.Overlaps(y.CIDR) {
							t.Errorf("blocks %s and %s overlap", a, b)
						}
					}
				}
			})
		}
	}
}

// TestNodesThatDisagreeAboutBlockSize claim and release at the same time.
func TestNodesThatDisagreeAboutBlockSize(t *testing.T) {
	for seed := range long.Or(1000, 40) {
		store := memory.New()
		shared := &ledger{owners: map[netip.Addr]string{}, disowned: map[netip.Addr]disowned{}}
		var running sync.WaitGroup
		for n := range 4 {
			running.Go(func() {
				host := Host{Name: fmt.Sprint("n", n)}
				pools := []Pool{{Name: "p", CIDR: prefix("10.9.0.0/26"), BlockSize: 28 + n%3}}
				c := New(store)
				for step := range 12 {
					var requests []Request
					for i := range 1 + (seed+n+step)%5 {
						requests = append(requests, Request{Handle: fmt.Sprintf("%d/%d/%d", n, step, i),
							Families: []Family{IPv4}})
					}
					for i, result := range c.Assign(t.Context(), host, pools, requests) {
						if result.Err != nil {
							continue
						}
						if err := shared.own(requests[i].Handle, result.Addrs()); err != nil {
							t.Errorf("seed %d: %v", seed, err)
						}
					}
					drop := requests[0].Handle
					shared.disown(func(handle string) bool { return handle == drop })
					if _, err := c.Release(t.Context(), host.Name, drop); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				}
			})
		}
		running.Wait()
		holders(t, store)
		if t.Failed() {
			return
		}
	}
}

// TestCrashDuringClaim leaves a block that is provisional. It gives nothing to anybody, and goes with the node's next
// start, or with the node.
func TestCrashDuringClaim(t *testing.T) {
	for _, ends := range []string{"start", "release"} {
		t.Run(ends, func(t *testing.T) {
			store := memory.New()
			pools := []Pool{{Name: "one block", CIDR: prefix("10.0.0.0/30"), BlockSize: 30}}
			faulty := newFaults(store, 0, 0)
			faulty.script = []fault{none, crashAfter} // the affinity, the block
			New(faulty).Assign(t.Context(), nodeA, pools, pods(0, 1, IPv4))
			if blocks := blocksOf(t, store); len(blocks) != 1 {
				t.Fatalf("the crash left %v", blocks)
			}
			if r := New(store).Assign(t.Context(), nodeB, pools, pods(1, 1, IPv4))[0]; r.Err == nil {
				t.Errorf("%v was borrowed from a block that is being claimed", r.Addrs())
			}
			if ends == "start" {
				New(store).Assign(t.Context(), nodeA, pools, nil)
			} else if _, err := New(store).ReleaseHost(t.Context(), "a", isGone); err != nil {
				t.Fatal(err)
			}
			if left := append(affinitiesOf(t, store), sortedNames(blocksOf(t, store))...); len(left) > 0 {
				t.Errorf("left behind %v", left)
			}
		})
	}
}

// TestOlderOfTwoOverlappingBlocks: somebody wrote a block over another one. The older gives addresses as if it was
// alone, so that nobody can use up another node's block in this way, and the newer one gives none.
func TestOlderOfTwoOverlappingBlocks(t *testing.T) {
	store := memory.New()
	pools := []Pool{{Name: "p", CIDR: prefix("10.0.0.0/30"), BlockSize: 30}}
	assign(t, New(store), nodeA, pools, pods(0, 1, IPv4)...)
	for name, b := range blocksOf(t, store) {
		b.CreationTimestamp = metav1.NewTime(epoch)
		if _, err := store.Update(t.Context(), datastore.IPAMBlocks, b.IPAMBlock); err != nil {
			t.Fatal(name, err)
		}
	}
	newer := block.New(prefix("10.0.0.2/31"), "b", epoch)
	newer.Assign("theirs", map[string]string{AttrNode: "b"}, anyAddr)
	if _, err := store.Create(t.Context(), datastore.IPAMBlocks, newer.IPAMBlock); err != nil {
		t.Fatal(err)
	}
	for i, host := range []Host{nodeB, nodeA} {
		New(store).Assign(t.Context(), host, pools, pods(10*(i+1), 4, IPv4))
	}
	for name, want := range map[string]int{"10-0-0-0-30": 4, newer.Name: 1} {
		if got := len(blocksOf(t, store)[name].Allocations(everything)); got != want {
			t.Errorf("%d addresses are given from block %s, want %d", got, name, want)
		}
	}
}

func everything(block.Allocation) bool { return true }

func anyAddr(netip.Addr) bool { return true }
