package calc

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/needs"
)

// TestPoliciesAreOrdered shuffles policies that stand in their order of evaluation, and sorts them.
func TestPoliciesAreOrdered(t *testing.T) {
	one, two := 1.0, 2.0
	all := tiers{}
	all.set("first", &v3.TierSpec{Order: &one})
	all.set("a-second", &v3.TierSpec{Order: &two})
	all.set("b-second", &v3.TierSpec{Order: &two})
	made := func(name, tier string, order *float64) *policy {
		return &policy{Policy: needs.Policy{Name: name}, tier: all.acquire(tier), order: order}
	}
	want := []*policy{
		made("gnp.first/b", "first", &one),
		made("gnp.first/a", "first", &two),
		made("gnp.first/0", "first", nil), // an absent order is last
		made("gnp.a-second/z", "a-second", &one),
		made("gnp.b-second/a", "b-second", &one),
		made("gnp.default/a", "default", &two), // the default tier has the order 1,000,000
		made("np.default/shop/a", "default", &two),
		made("gnp.default/b", "default", &two),
		made("gnp.unknown/a", "unknown", &one), // a tier without a Tier is last
	}
	names := func(list []*policy) (names []string) {
		for _, p := range list {
			names = append(names, p.Name)
		}
		return names
	}
	for seed := range uint64(50) {
		got := slices.Clone(want)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, comparePolicies)
		if diff := cmp.Diff(names(want), names(got)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

// TestTiersLast checks how long a tier exists: while it has a Tier or policies.
func TestTiersLast(t *testing.T) {
	one := 1.0
	all := tiers{}
	if all.set("t", nil) || len(all) > 0 {
		t.Error("a Tier that is not there was removed")
	}
	used := all.acquire("t")
	if !all.set("t", &v3.TierSpec{Order: &one}) || all.set("t", &v3.TierSpec{Order: &one}) {
		t.Error("set does not report whether the tier changed")
	}
	all.release(used)
	if len(all) != 1 {
		t.Error("the tier went with its last policy, although it has a Tier")
	}
	if !all.set("t", nil) || len(all) > 0 {
		t.Error("the tier stays without a Tier and policies")
	}
}
