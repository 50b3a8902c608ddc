package iptables

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// closing makes a chain with a fallback.
func closing(name string, rules ...filter.Rule) filter.Chain {
	return filter.Chain{Name: name, Rules: rules, Fallback: []filter.Rule{{Action: filter.Drop{}}},
		About: "policy of " + name}
}

// TestIsolation: what the kernel refuses of one chain denies there and holds up nothing else, in whatever order it
// comes, and is tried again.
func TestIsolation(t *testing.T) {
	missing := filter.Rule{Action: filter.Jump{Chain: "cali-missing"}} // as a set or a match that the kernel lacks
	eachWorld(t, func(t *testing.T, w world) {
		w.byHand(t, ":cali-old - [0:0]", ":cali-in-use - [0:0]", "-A OUTPUT -j cali-in-use")
		table := newDriver(w.Config)
		for i := range 9 {
			table.Set(closing(fmt.Sprint("cali-", i), marks(uint32(i+1))))
		}
		table.Set(closing("cali-2", marks(3), missing))
		table.Set(closing("cali-7", missing))
		table.Set(filter.Chain{Name: "cali-static", Rules: []filter.Rule{{Action: filter.Jump{Chain: "cali-2"}}}})
		// expect compares the chains, and what Apply refused.
		expect := func(what string, refused []string, chains ...string) {
			t.Helper()
			err := table.Apply(t.Context())
			if len(refusedIn(err)) != len(refused) || !filter.Enforced(err) {
				t.Errorf("%s: Apply: %v", what, err)
			}
			for _, name := range refused {
				if !strings.Contains(err.Error(), "policy of "+name+" denies") {
					t.Errorf("%s: nothing said of %s: %v", what, name, err)
				}
			}
			have := w.rules(t)
			for _, chain := range chains {
				if !slices.Contains(have, chain) {
					t.Errorf("%s: no %q in\n%s", what, chain, strings.Join(have, "\n"))
				}
			}
		}
		if err := table.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "cali-in-use") {
			t.Errorf("a chain that must stay: %v", err)
		}
		w.byHand(t, "-D OUTPUT -j cali-in-use")
		expect("new", []string{"cali-2", "cali-7"}, "cali-2 -j DROP", "cali-7 -j DROP", "cali-0 -j MARK --set-xmark "+
			"0x1/0xf",
			"cali-8 -j MARK --set-xmark 0x9/0xf", "cali-static -j cali-2")
		if slices.Contains(w.rules(t), ":cali-old") || slices.Contains(w.rules(t), ":cali-in-use") {
			t.Error("chains that are to go stay for others that are refused")
		}
		table.Set(closing("cali-3", marks(9)))
		expect("another changes", []string{"cali-2", "cali-7"}, "cali-3 -j MARK --set-xmark 0x9/0xf", "cali-7 -j DROP")
		table.Set(closing("cali-4", missing, marks(1)))
		expect("one that was good turns bad", []string{"cali-2", "cali-4", "cali-7"}, "cali-4 -j DROP",
			"cali-5 -j MARK --set-xmark 0x6/0xf")
		table.Set(closing("cali-2", marks(2)))
		table.Remove("cali-7")
		expect("mended and removed", []string{"cali-4"}, "cali-2 -j MARK --set-xmark 0x2/0xf")
		table.Set(filter.Chain{Name: "cali-missing"})
		expect("what was missing came", nil, "cali-4 -j cali-missing", "cali-4 -j MARK --set-xmark 0x1/0xf")
		*w.restores = 0
		expect("at rest", nil)
		if *w.restores != 0 {
			t.Errorf("at rest: %d restores", *w.restores)
		}
	})
}

// TestIsolationHasLimits: a chain without a fallback that is refused is the table's error, and those with one are as
// they ought to be once it is gone.
func TestIsolationHasLimits(t *testing.T) {
	fake := NewFake()
	table := newDriver(Config{Family: dataplane.IPv4, Variant: NFT, Runner: fake, Sets: fake.Sets})
	table.Set(filter.Chain{Name: "cali-static", Rules: []filter.Rule{{Action: filter.Jump{Chain: "cali-missing"}}}})
	table.Set(closing("cali-a", marks(1)))
	err := table.Apply(t.Context())
	if err == nil || filter.Enforced(err) {
		t.Errorf("Apply: %v", err)
	}
	table.Remove("cali-static")
	apply(t, table)
	world{Config: Config{Family: dataplane.IPv4, Variant: NFT, Runner: fake}, restores: &fake.Restores}.expect(t,
		"without it", ":cali-a", "cali-a -j MARK --set-xmark 0x1/0xf")
}

// TestNothingIsMade: a table that nothing is wanted of is not made, through which packets would pass.
func TestNothingIsMade(t *testing.T) {
	for _, b := range []Variant{NFT, Legacy} {
		kerneltest.Enter(t)
		table := newDriverOf(Config{Family: dataplane.IPv4, Variant: b, Runner: Exec{}, Sets: dial(t, dataplane.IPv4)},
			filter.Raw)
		apply(t, table)
		if out := kerneltest.Run(t, command(dataplane.IPv4, b, "save")); strings.Contains(out, "*raw") {
			t.Errorf("iptables-%s has a table that nobody asked for:\n%s", b, out)
		}
		kerneltest.Run(t, "iptables-"+string(b)+" -t raw -N cali-old")
		table.ResyncChains()
		apply(t, table)
		if out := kerneltest.Run(t, command(dataplane.IPv4, b, "save")); strings.Contains(out, "cali-old") {
			t.Errorf("what an earlier process left stays:\n%s", out)
		}
	}
}
