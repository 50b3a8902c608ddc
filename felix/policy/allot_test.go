package policy

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/maneki-net/maneki/typha/wire"
)

// naming gives a policy that names sets.
func naming(name string, sets ...string) *wire.Policy {
	return &wire.Policy{Name: name, Ingress: []wire.Rule{{Action: wire.Allow, Src: wire.Match{Sets: sets}}}}
}

// TestOneNamespaceDoesNotUseUpTheSets: where the kernel has no room for all, it is the namespace with too many whose
// policies do without.
func TestOneNamespaceDoesNotUseUpTheSets(t *testing.T) {
	sizes := map[string]int{"shared": 5, "admin": 5, "a": 5, "b": 5, "large": 200}
	var hog []string
	for i := range 20 {
		hog = append(hog, fmt.Sprint("hog-", i))
		sizes[hog[i]] = 5
	}
	all := map[string]*wire.Policy{}
	for _, p := range []*wire.Policy{
		naming("gnp.default/all", "admin", "shared"),
		naming("knp.default/a/p", "a", "shared"), naming("np.t1/b/p", "b"),
		naming("knp.default/hog/1", hog[:4]...), naming("knp.default/hog/2", hog[4:]...),
		naming("knp.default/hog/3", "shared", "a"),
		naming("knp.default/big/p", "large"),
	} {
		all[p.Name] = p
	}
	for _, tt := range []struct {
		name    string
		room    Room
		refused []string
	}{
		{"room for all", Room{25, 320}, nil},
		{"one set too many", Room{24, 2000}, hog[4:]},
		{"no room for the large one", Room{25, 150}, []string{"large"}},
		{"room for an administrator's alone", Room{2, 2000}, slices.Concat(hog, []string{"a", "b", "large"})},
	} {
		slices.Sort(tt.refused)
		if got := slices.Sorted(maps.Keys(Allot(all, sizes, tt.room))); !slices.Equal(got, tt.refused) {
			t.Errorf("%s: refused are %v, want %v", tt.name, got, tt.refused)
		}
	}
}
