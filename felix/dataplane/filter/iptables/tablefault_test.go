package iptables

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// TestOneTableFails: while the nat table cannot be read or changed, the other tables and the sets that they name follow
// their commits.
func TestOneTableFails(t *testing.T) {
	broken := errors.New("broken")
	for verb, concerns := range map[string]func(Command) bool{
		"save":    func(c Command) bool { return slices.Contains(c.Args, "nat") },
		"restore": func(c Command) bool { return strings.Contains(string(c.Stdin), "*nat") },
	} {
		t.Run(verb, func(t *testing.T) {
			fake := NewFake()
			b := newBackend(fake)
			d := start(t, b, []string{"a", "b"})
			d.policies[0] = []filter.Rule{{Match: filter.Match{Source: filter.End{Sets: []string{"a"}}},
				Effect: filter.Opens, Action: filter.SetMark{Value: accepted, Mask: accepted, Return: true}}}
			member := func(i int) filter.Member { return filter.Member{Net: netip.PrefixFrom(someAddrs[i], 32)} }
			nat := filter.Chain{Table: filter.NAT, Name: "cali-nat", Rules: []filter.Rule{{Action: filter.Return{}}}}
			first := filter.Commit{Chains: []filter.Chain{d.chainOf(0), nat},
				Sets: []filter.SetChange{{ID: "a", Added: []filter.Member{member(1)}}}}
			if err := b.Commit(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			passes := func(i int) bool { return readKernel(t, fake).passes(pair{someAddrs[i], someAddrs[2]}) }
			if !passes(1) || passes(3) {
				t.Fatalf("before the fault: %v, %v", passes(1), passes(3))
			}
			met := false
			fake.Fail = func(c Command) error {
				if strings.HasSuffix(c.Name, verb) && concerns(c) {
					met = true
					return broken
				}
				return nil
			}
			b.ResyncChains()
			nat.Rules = []filter.Rule{{Action: filter.Accept{}}}
			err := b.Commit(t.Context(), filter.Commit{Chains: []filter.Chain{nat}, Sets: []filter.SetChange{
				{ID: "a", Added: []filter.Member{member(3)}, Removed: []filter.Member{member(1)}}}})
			failed, is := errors.AsType[*filter.Error](err)
			if !met || !is || failed.Table != filter.NAT || !errors.Is(err, broken) {
				t.Errorf("the fault was met: %v; the error is %v", met, err)
			}
			if passes(1) || !passes(3) {
				t.Errorf("while nat fails: %v, %v; want false, true", passes(1), passes(3))
			}
			fake.Fail = nil
			if err := b.Commit(t.Context(), filter.Commit{}); err != nil {
				t.Errorf("after the fault: %v", err)
			}
			out, _, err := Run(t.Context(), fake, Command{Name: command(dataplane.IPv4, NFT, "save"),
				Args: []string{"-t", "nat"}})
			if err != nil || !strings.Contains(string(out), "-j ACCEPT") {
				t.Errorf("after the fault the chain of nat is as before: %v\n%s", err, out)
			}
		})
	}
}
