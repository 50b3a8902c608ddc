package delta_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane/delta"
)

// TestPending compares with a full comparison of both sides after each of many random steps.
func TestPending(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	m := delta.New[int](func(a, b int) bool { return a == b })
	desired, actual := map[int]int{}, map[int]int{}
	for range 5000 {
		k, v := r.IntN(8), r.IntN(3)
		switch r.IntN(20) {
		case 0:
			desired = map[int]int{k: v}
			m.Replace(map[int]int{k: v})
		case 1:
			actual = map[int]int{k: v}
			m.Load(map[int]int{k: v})
		case 2, 3, 4, 5, 6:
			desired[k] = v
			m.Set(k, v)
		case 7, 8, 9:
			delete(desired, k)
			m.Unset(k)
		case 10, 11, 12:
			delete(actual, k)
			m.Forget(k)
		default:
			actual[k] = v
			m.Observe(k, v)
		}
		var wanted, unwanted []int
		for k := range 8 {
			d, want := desired[k]
			a, there := actual[k]
			if want && (!there || a != d) {
				wanted = append(wanted, k)
			}
			if there && !want {
				unwanted = append(unwanted, k)
			}
		}
		gotWanted, gotUnwanted := m.Pending()
		slices.Sort(gotWanted)
		slices.Sort(gotUnwanted)
		if diff := cmp.Diff([][]int{wanted, unwanted}, [][]int{gotWanted, gotUnwanted}); diff != "" {
			t.Fatalf("pending (-want +got):\n%s", diff)
		}
		if m.Settled() != (len(wanted)+len(unwanted) == 0) {
			t.Fatalf("Settled() = %v with %v and %v pending", m.Settled(), wanted, unwanted)
		}
	}
}
