package iptables

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// walk returns the chain that a packet of an interface comes to, and how many rules looked at it. A packet that no rule
// takes comes to the default, which is "".
func walk(t *testing.T, chains map[string]filter.Chain, root, device string) (chain string, looked int) {
	t.Helper()
	chain = root
next:
	for strings.HasPrefix(chain, root) {
		for _, rule := range chains[chain].Rules {
			looked++
			target, isGoto := rule.Action.(filter.Goto)
			if !isGoto {
				return "", looked
			}
			if in := rule.Match.In; in.Prefix && strings.HasPrefix(device, in.Name) || in.Name == device {
				chain = target.Chain
				continue next
			}
		}
		t.Fatalf("chain %s has no end", chain)
	}
	return chain, looked
}

// manyNames are names of interfaces, sorted, of which some begin with others.
func manyNames() []string {
	names := []string{"cali", "cali_", "cali_a", "tap:1"}
	for i := range 300 {
		names = append(names, fmt.Sprintf("cali%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))[:4+i%12])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestDispatch: each of many interfaces comes to its own chain, any other to none.
func TestDispatch(t *testing.T) {
	names := manyNames()
	d := filter.Dispatch{Table: filter.Filter, Name: "cali-from-wl-dispatch", Targets: map[string]string{},
		Default: []filter.Rule{{Action: filter.Drop{}}}}
	for _, name := range names {
		d.Targets[name] = "cali-fw-" + name
	}
	chains := map[string]filter.Chain{}
	for _, c := range newDispatch(d).chains() {
		if _, twice := chains[c.Name]; twice || len(c.Name) > filter.MaxChainName {
			t.Fatalf("chain %s: twice %v, or too long", c.Name, twice)
		}
		chains[c.Name] = c
	}
	for _, name := range names {
		if chain, looked := walk(t, chains, d.Name, name); chain != "cali-fw-"+name || looked > 60 {
			t.Errorf("%s comes to %q after %d rules", name, chain, looked)
		}
	}
	for _, name := range []string{"cal", "caliX", "cali0123456789g", "tap", "eth0"} {
		if chain, _ := walk(t, chains, d.Name, name); chain != "" {
			t.Errorf("%s comes to %s", name, chain)
		}
	}
}

// TestDispatchChanges: after each of many changes of one name, the chains that were changed and those that went make
// the tree that a new dispatch of the same names has.
func TestDispatchChanges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	names := manyNames()
	d := newDispatch(filter.Dispatch{Name: "cali-from-wl-dispatch", Targets: map[string]string{},
		Default: []filter.Rule{{Action: filter.Drop{}}}})
	have := map[string]filter.Chain{}
	for _, c := range d.chains() {
		have[c.Name] = c
	}
	most := 0
	for i := range 3000 {
		name, chain := names[r.IntN(len(names))], ""
		if grow := i/500%2 == 0; r.IntN(4) > 0 == grow { // many names, then few
			chain = fmt.Sprint("cali-fw-", r.IntN(2), name)
		}
		if i%100 == 0 {
			names = append(names, fmt.Sprint("x", i)) // which changes what all names have in common
		}
		changed, gone := d.change(name, chain)
		for _, name := range gone {
			if _, there := have[name]; !there {
				t.Fatalf("chain %s goes, and was not there", name)
			}
			delete(have, name)
		}
		for _, c := range changed {
			have[c.Name] = c
		}
		fresh := d.Dispatch
		fresh.Targets = maps.Clone(d.Targets)
		want := map[string]filter.Chain{}
		for _, c := range newDispatch(fresh).chains() {
			want[c.Name] = c
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Fatalf("after %d changes, the last of %s to %q (-want +got):\n%s", i+1, name, chain, diff)
		}
		most = max(most, len(have))
	}
	if most < 20 {
		t.Errorf("at most %d chains: the test proves little", most)
	}
}
