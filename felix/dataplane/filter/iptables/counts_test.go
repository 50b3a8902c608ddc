package iptables

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// TestCounts: each count moves by what is done, and by no more.
func TestCounts(t *testing.T) {
	fake := NewFake()
	table := newDriver(Config{Family: dataplane.IPv4, Variant: NFT, Runner: fake, Sets: fake.Sets})
	failing := ""
	fake.Fail = func(c Command) error {
		if failing != "" && strings.HasSuffix(c.Name, failing) {
			return errors.New("resource temporarily unavailable")
		}
		return nil
	}
	type counts struct {
		Saves, SaveErrors, Restores, RestoreErrors, Lines uint64
		Chains, Rules                                     int64
	}
	check := func(after string, want counts) {
		t.Helper()
		c, of := table.Counts(), table.TableCounts(filter.Filter)
		got := counts{c.Saves.Load(), c.SaveErrors.Load(), c.Restores.Load(), c.RestoreErrors.Load(), of.Lines.Load(),
			of.Chains.Load(), of.Rules.Load()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", after, diff)
		}
	}
	table.Set(filter.Chain{Name: "cali-a", Rules: []filter.Rule{{Action: filter.Accept{}}, {Action: filter.Drop{}}}})
	table.Hook(map[filter.Hook]filter.HookRules{
		filter.Input: {First: []filter.Rule{{Action: filter.Jump{Chain: "cali-a"}}}}})
	failing = "save"
	if err := table.Apply(t.Context()); err == nil {
		t.Fatal("no error")
	}
	check("saves that failed", counts{Saves: 4, SaveErrors: 4}) // one for each table
	failing = "restore"
	if err := table.Apply(t.Context()); err == nil {
		t.Fatal("no error")
	}
	restores := table.Counts().Restores.Load()
	if failed := table.Counts().RestoreErrors.Load(); failed == 0 || failed != restores {
		t.Errorf("of %d restores %d failed", restores, failed)
	}
	saves := table.Counts().Saves.Load()
	failing = ""
	if err := table.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := counts{Saves: saves + 1, SaveErrors: 4, Restores: restores + 1, RestoreErrors: restores,
		Lines: 4, Chains: 1, Rules: 3} // the chain, its two rules, and the jump
	check("what was desired", want)
	if err := table.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("nothing to do", want)
	table.Remove("cali-a")
	table.Hook(nil)
	if err := table.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	want.Restores++
	want.Lines += 3 // the chain is emptied, the jump goes, the chain goes
	want.Chains, want.Rules = 0, 0
	check("all gone", want)
}
