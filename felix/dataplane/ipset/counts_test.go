package ipset

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestCounts: sets and members are counted as the ipset program has them, and a refusal of the kernel is an error.
func TestCounts(t *testing.T) {
	kerneltest.Enter(t)
	kerneltest.Run(t, "ipset create foreign hash:net")
	s, err := Open(Config{Family: dataplane.IPv4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	type counts struct {
		Errors, Lines uint64
		Sets, All     int64
	}
	var calls uint64
	check := func(after string, want counts, more bool) {
		t.Helper()
		c := s.Counts()
		if diff := cmp.Diff(want, counts{c.Errors.Load(), c.Lines.Load(), c.Sets.Load(), c.All.Load()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", after, diff)
		}
		if now := c.Calls.Load(); (now > calls) != more {
			t.Errorf("%s: %d calls, %d before", after, now, calls)
		}
		calls = s.Counts().Calls.Load()
	}
	a, b := SetName(dataplane.IPv4, "a"), SetName(dataplane.IPv4, "b")
	s.Set(Set{a, HashNet, nets("10.0.0.0/8", "10.1.2.3/32")})
	s.Set(Set{b, HashNet, nil})
	apply(t, s)
	check("two sets, one with two members", counts{Lines: 4, Sets: 2, All: 3}, true)
	apply(t, s)
	check("nothing to do", counts{Lines: 4, Sets: 2, All: 3}, false)
	s.RemoveMembers(a, nets("10.0.0.0/8")...)
	apply(t, s)
	check("a member less", counts{Lines: 5, Sets: 2, All: 3}, true)
	kerneltest.Run(t, "ipset create list list:set")
	kerneltest.Run(t, "ipset add list "+b)
	s.Remove(b)
	if err := s.Apply(t.Context()); err == nil {
		t.Error("a set in use was destroyed")
	}
	if got := s.Counts().Errors.Load(); got != 1 {
		t.Errorf("%d errors, want the set in use", got)
	}
	kerneltest.Run(t, "ipset destroy list")
	apply(t, s)
	check("a set less", counts{Errors: 1, Lines: 6, Sets: 1, All: 2}, true)
}
