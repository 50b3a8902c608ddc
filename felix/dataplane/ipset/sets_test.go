package ipset

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// counting counts what is written, and how often members are read.
type counting struct {
	Kernel
	writes, reads int
}

func (c *counting) Create(h Header) error                 { c.writes++; return c.Kernel.Create(h) }
func (c *counting) Destroy(n string) error                { c.writes++; return c.Kernel.Destroy(n) }
func (c *counting) Swap(a, b string) error                { c.writes++; return c.Kernel.Swap(a, b) }
func (c *counting) Add(n string, m []filter.Member) error { c.writes++; return c.Kernel.Add(n, m) }
func (c *counting) Remove(n string, m []filter.Member) error {
	c.writes++
	return c.Kernel.Remove(n, m)
}
func (c *counting) Members(n string) ([]filter.Member, error) { c.reads++; return c.Kernel.Members(n) }

func open(t *testing.T, cfg Config) (*Sets, *counting) {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := &counting{Kernel: s.kernel}
	s.kernel = c
	return s, c
}

func addFirst(string) Order { return AddFirst }

func apply(t *testing.T, s *Sets) {
	t.Helper()
	if err := s.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func nets(prefixes ...string) []filter.Member {
	var m []filter.Member
	for _, p := range prefixes {
		m = append(m, filter.Member{Net: netip.MustParsePrefix(p)})
	}
	return m
}

// listed gives a set's members as the ipset program shows them.
func listed(t *testing.T, name string) []string {
	t.Helper()
	_, members, _ := strings.Cut(kerneltest.Run(t, "ipset list "+name), "Members:\n")
	return slices.Sorted(slices.Values(strings.Fields(members)))
}

// families is what differs between the families in the tests below. Each list of members holds both
// families', of which a set takes its own.
var families = []struct {
	dataplane.Family
	prefix, inet, big    string
	first, second, ports []string
	byHand               string
}{
	{dataplane.IPv4, "cali40", "inet", "0.0.0.0/1 128.0.0.0/1",
		[]string{"10.0.0.0/8", "10.1.2.3"}, []string{"10.1.2.3", "10.9.0.0/16"},
		[]string{"10.1.2.3,tcp:80", "10.1.2.3,udp:53"}, "10.7.0.0/16"},
	{dataplane.IPv6, "cali60", "inet6", "8000::/1 ::/1",
		[]string{"fd00:1::3", "fd00::/16"}, []string{"fd00:1::3", "fd00:9::/32"},
		[]string{"fd00:1::3,tcp:80", "fd00:1::3,udp:53"}, "fd00:7::/32"},
}

var (
	first  = nets("10.0.0.0/8", "10.1.2.3/32", "fd00::/16", "fd00:1::3/128")
	second = nets("10.1.2.3/32", "10.9.0.0/16", "fd00:1::3/128", "fd00:9::/32")
	ports  = []filter.Member{
		{Net: netip.MustParsePrefix("10.1.2.3/32"), Protocol: 6, Port: 80},
		{Net: netip.MustParsePrefix("10.1.2.3/32"), Protocol: 17, Port: 53},
		{Net: netip.MustParsePrefix("fd00:1::3/128"), Protocol: 6, Port: 80},
		{Net: netip.MustParsePrefix("fd00:1::3/128"), Protocol: 17, Port: 53},
	}
)

func TestProgram(t *testing.T) {
	for _, f := range families {
		t.Run(f.Family.String(), func(t *testing.T) {
			kerneltest.Enter(t)
			kerneltest.Run(t, "ipset create "+f.prefix+"old hash:ip family "+f.inet)
			kerneltest.Run(t, "ipset create foreign hash:net family "+f.inet)
			s, c := open(t, Config{Family: f.Family})
			a, b, all := SetName(f.Family, "a"), SetName(f.Family, "b"), SetName(f.Family, "all")
			want := []Set{
				{a, HashNet, first}, {b, HashIPPort, ports},
				{all, HashNet, nets("0.0.0.0/0", "::/0")}, {SetName(f.Family, "none"), HashNet, nil},
			}
			for _, set := range want {
				s.Set(set)
			}
			apply(t, s)
			check := func(name string, want []string) {
				t.Helper()
				if diff := cmp.Diff(want, listed(t, name)); diff != "" {
					t.Errorf("members of %s (-want +got):\n%s", name, diff)
				}
			}
			check(a, f.first)
			check(b, f.ports)
			check(all, strings.Fields(f.big))
			names := strings.Fields(kerneltest.Run(t, "ipset list -n"))
			if len(names) != 5 || slices.Contains(names, f.prefix+"old") || !slices.Contains(names, "foreign") {
				t.Errorf("sets %q, want ours and the foreign one", names)
			}

			c.writes, c.reads = 0, 0
			apply(t, s)
			if c.writes != 0 || c.reads != 0 {
				t.Errorf("second Apply wrote %d and read %d times", c.writes, c.reads)
			}
			restarted, c := open(t, Config{Family: f.Family})
			for _, set := range want {
				restarted.Set(set)
			}
			apply(t, restarted)
			if c.writes != 0 {
				t.Errorf("Apply after a restart wrote %d times", c.writes)
			}

			restarted.Set(Set{a, HashNet, second})
			apply(t, restarted)
			check(a, f.second)
			if c.writes != 2 {
				t.Errorf("one member more and one less: %d writes, want 2", c.writes)
			}
			restarted.Set(Set{b, HashNet, first})
			apply(t, restarted)
			check(b, f.first)
		})
	}
}

// TestWithhold: a set that is withheld goes from the kernel only with After, is reported until it is not withheld any
// more, and has then the members that it was given meanwhile.
func TestWithhold(t *testing.T) {
	kerneltest.Enter(t)
	s, _ := open(t, Config{Family: dataplane.IPv4})
	a, b := SetName(dataplane.IPv4, "a"), SetName(dataplane.IPv4, "b")
	s.Set(Set{a, HashNet, first})
	s.Set(Set{b, HashNet, first})
	apply(t, s)
	full := errors.New("no room")
	s.Withhold(map[string]error{a: full})
	grown := s.Before(t.Context(), addFirst)
	if failed, is := errors.AsType[*FailedError](grown); !is || len(failed.Sets) != 1 || failed.Sets[a] != full {
		t.Errorf("Before gives %v", grown)
	}
	if names := kerneltest.Run(t, "ipset list -n"); !strings.Contains(names, a) {
		t.Errorf("before After there are %q: a rule may still name the set", names)
	}
	if err := s.After(t.Context(), every); err != nil {
		t.Error(err)
	}
	if names := kerneltest.Run(t, "ipset list -n"); strings.Contains(names, a) || !strings.Contains(names, b) {
		t.Errorf("after After there are %q", names)
	}
	s.AddMembers(a, nets("10.2.0.0/16")...)
	if err := s.Before(t.Context(), addFirst); err == nil {
		t.Error("the set that is withheld is not reported any more")
	}
	s.Withhold(nil)
	apply(t, s)
	if got := listed(t, a); !slices.Contains(got, "10.2.0.0/16") || len(got) != 3 {
		t.Errorf("the set has %v", got)
	}
}

func TestRepair(t *testing.T) {
	for _, f := range families {
		t.Run(f.Family.String(), func(t *testing.T) {
			kerneltest.Enter(t)
			s, c := open(t, Config{Family: f.Family})
			a, b := SetName(f.Family, "a"), SetName(f.Family, "b")
			s.Set(Set{a, HashNet, first})
			s.Set(Set{b, HashNet, first})
			apply(t, s)
			c.reads = 0
			for _, command := range []string{
				"", "ipset destroy " + b, "ipset del " + a + " " + f.first[0], "ipset add " + a + " " + f.byHand,
				"ipset create " + f.prefix + "x hash:net family " + f.inet,
			} {
				if command != "" {
					kerneltest.Run(t, command)
				}
				changed, err := s.Changed(t.Context())
				if err != nil || changed != (command != "") {
					t.Fatalf("after %q: Changed() = %v, %v", command, changed, err)
				}
				if command == "" && c.reads != 0 {
					t.Error("Changed read members")
				}
				apply(t, s)
				for _, name := range []string{a, b} {
					if diff := cmp.Diff(f.first, listed(t, name)); diff != "" {
						t.Errorf("after %q: members of %s (-want +got):\n%s", command, name, diff)
					}
				}
				if n := len(strings.Fields(kerneltest.Run(t, "ipset list -n"))); n != 2 {
					t.Errorf("after %q: %d sets, want 2", command, n)
				}
			}
		})
	}
}

// TestPhases: what rules name may not go before After, and a set in use is reported and tried again.
func TestPhases(t *testing.T) {
	kerneltest.Enter(t)
	s, _ := open(t, Config{Family: dataplane.IPv4})
	s.Set(Set{"cali40a", HashNet, first})
	apply(t, s)
	s.Set(Set{"cali40a", HashNet, second})
	if err := s.Before(t.Context(), addFirst); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.0.0/8", "10.1.2.3", "10.9.0.0/16"}, listed(t, "cali40a")); diff != "" {
		t.Errorf("after Before (-want +got):\n%s", diff)
	}
	if err := s.After(t.Context(), every); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(families[0].second, listed(t, "cali40a")); diff != "" {
		t.Errorf("after After (-want +got):\n%s", diff)
	}

	rule := " OUTPUT -m set --match-set cali40a dst -j DROP"
	kerneltest.Run(t, "iptables -A"+rule)
	s.Remove("cali40a")
	s.Set(Set{"cali40b", HashNet, first})
	if err := s.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "cali40a: a rule names the set") {
		t.Errorf("removal of a set in use: %v", err)
	}
	if diff := cmp.Diff(families[0].first, listed(t, "cali40b")); diff != "" {
		t.Errorf("the other set (-want +got):\n%s", diff)
	}
	kerneltest.Run(t, "iptables -D"+rule)
	apply(t, s)
	if names := kerneltest.Run(t, "ipset list -n"); names != "cali40b\n" {
		t.Errorf("sets %q, want cali40b", names)
	}
}

// TestLimitChanges: the set is exchanged while a rule names it.
func TestLimitChanges(t *testing.T) {
	kerneltest.Enter(t)
	small, _ := open(t, Config{Family: dataplane.IPv4, MaxElements: 2})
	small.Set(Set{"cali40a", HashNet, first})
	apply(t, small)
	kerneltest.Run(t, "iptables -A OUTPUT -m set --match-set cali40a dst -j DROP")
	small.AddMembers("cali40a", nets("10.9.0.0/16")...)
	small.Set(Set{"cali40b", HashNet, nets("10.9.0.0/16")})
	err := small.Before(t.Context(), addFirst)
	if failed, ok := errors.AsType[*FailedError](err); !ok || len(failed.Sets) != 1 ||
		!strings.Contains(failed.Sets["cali40a"].Error(), "full") {
		t.Errorf("Before beyond the limit: %v", err)
	}
	if diff := cmp.Diff([]string{"10.9.0.0/16"}, listed(t, "cali40b")); diff != "" {
		t.Errorf("the set after the one that is full (-want +got):\n%s", diff)
	}
	s, _ := open(t, Config{Family: dataplane.IPv4})
	s.Set(Set{"cali40a", HashNet, second})
	apply(t, s)
	if diff := cmp.Diff(families[0].second, listed(t, "cali40a")); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if names := kerneltest.Run(t, "ipset list -n"); names != "cali40a\n" {
		t.Errorf("sets %q, want cali40a", names)
	}
}

// TestHalves: /0 is two halves to the kernel, each of which may be wanted for itself too.
func TestHalves(t *testing.T) {
	kerneltest.Enter(t)
	s, _ := open(t, Config{Family: dataplane.IPv4})
	low := "0.0.0.0/1"
	s.Set(Set{"cali40a", HashNet, nets("0.0.0.0/0", low)})
	for _, step := range []struct {
		add, remove []filter.Member
		want        string
	}{
		{nil, nil, "0.0.0.0/1 128.0.0.0/1"},
		{nil, nets(low), "0.0.0.0/1 128.0.0.0/1"},
		{nets(low), nil, "0.0.0.0/1 128.0.0.0/1"},
		{nil, nets("0.0.0.0/0"), "0.0.0.0/1"},
		{nets("128.0.0.0/1", "10.0.0.1/32"), nil, "0.0.0.0/1 10.0.0.1 128.0.0.0/1"},
		{nets("0.0.0.0/0", "::/0"), nets(low, "128.0.0.0/1"), "0.0.0.0/1 10.0.0.1 128.0.0.0/1"},
		{nil, nets("0.0.0.0/0"), "10.0.0.1"},
	} {
		s.RemoveMembers("cali40a", step.remove...)
		s.AddMembers("cali40a", step.add...)
		apply(t, s)
		if got := strings.Join(listed(t, "cali40a"), " "); got != step.want {
			t.Errorf("%+v: members %s", step, got)
		}
	}
}

func TestManyMembers(t *testing.T) {
	kerneltest.Enter(t)
	s, c := open(t, Config{Family: dataplane.IPv6})
	var members []filter.Member
	for i := range 20000 {
		members = append(members, nets(fmt.Sprintf("fd00:%x::%x/128", i>>8+1, i&255+1))...)
	}
	s.Set(Set{"cali60many", HashNet, members})
	apply(t, s)
	got, err := c.Members("cali60many")
	if err != nil || len(got) != len(members) {
		t.Fatalf("%d members, %v; want %d", len(got), err, len(members))
	}
	s.RemoveMembers("cali60many", members[1:]...)
	apply(t, s)
	if diff := cmp.Diff([]string{"fd00:1::1"}, listed(t, "cali60many")); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestApplyStopsWithContext(t *testing.T) {
	kerneltest.Enter(t)
	s, c := open(t, Config{Family: dataplane.IPv4})
	s.Set(Set{"cali40a", HashNet, first})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Apply(ctx); err == nil || c.writes != 0 {
		t.Errorf("Apply with a context that ended: %v, %d writes", err, c.writes)
	}
	apply(t, s)
	if diff := cmp.Diff(families[0].first, listed(t, "cali40a")); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestSetName(t *testing.T) {
	long := "s:ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij"
	for id, want := range map[string]string{
		"abc":                   "cali40abc",
		strings.Repeat("x", 25): "cali40" + strings.Repeat("x", 25),
	} {
		if got := SetName(dataplane.IPv4, id); got != want {
			t.Errorf("SetName(%q) = %q, want %q", id, got, want)
		}
	}
	a, b := SetName(dataplane.IPv6, long), SetName(dataplane.IPv6, long+"x")
	if len(a) != MaxNameLength || a == b || !strings.HasPrefix(a, "cali60s:ABC") {
		t.Errorf("names of long ids: %q and %q", a, b)
	}
}

// BenchmarkChange is one member more and one less: what it costs must not follow the size of the set.
func BenchmarkChange(b *testing.B) {
	for _, size := range []int{100, 10000, 250000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			kerneltest.Enter(b)
			s, err := Open(Config{Family: dataplane.IPv6})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var members []filter.Member
			for i := range size {
				members = append(members, nets(fmt.Sprintf("fd00:%x::%x/128", i>>8+1, i&255+1))...)
			}
			s.Set(Set{"cali60many", HashNet, members})
			if err := s.Apply(b.Context()); err != nil {
				b.Fatal(err)
			}
			one := nets("fd99::1/128")
			for b.Loop() {
				s.AddMembers("cali60many", one...)
				if err := s.Apply(b.Context()); err != nil {
					b.Fatal(err)
				}
				s.RemoveMembers("cali60many", one...)
				if err := s.Apply(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
