package iptables

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// world is one implementation that the suite runs against.
type world struct {
	Config
	restores *int
}

type counting struct {
	Exec
	restores *int
}

func (c counting) Start(ctx context.Context, cmd Command) func() ([]byte, int, error) {
	if strings.HasSuffix(cmd.Name, "restore") {
		*c.restores++
	}
	return c.Exec.Start(ctx, cmd)
}

// eachWorld runs a test against the fake and against the kernel by both variants, for both families.
func eachWorld(t *testing.T, test func(t *testing.T, w world)) {
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		for _, b := range []Variant{"fake", NFT, Legacy} {
			t.Run(fmt.Sprintf("%s/%s", f, b), func(t *testing.T) {
				cfg := Config{Family: f, Variant: b, Scratch: 0xc0000}
				if b == "fake" {
					fake := NewFake()
					cfg.Runner, cfg.Sets, cfg.Variant = fake, fake.Sets, NFT
					test(t, world{cfg, &fake.Restores})
					return
				}
				kerneltest.Enter(t)
				n := new(int)
				cfg.Runner, cfg.Sets = counting{restores: n}, dial(t, f)
				test(t, world{cfg, n})
			})
		}
	}
}

// dial opens the kernel's sets of a family.
func dial(t *testing.T, f dataplane.Family) ipset.Kernel {
	t.Helper()
	k, err := ipset.Dial(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// driver is a Backend of which the tests use one table. What it is told is committed by Apply.
type driver struct {
	*Backend
	table filter.Table
	next  filter.Commit
	known map[string]bool
}

func newDriver(cfg Config) *driver { return newDriverOf(cfg, filter.Filter) }

func newDriverOf(cfg Config, table filter.Table) *driver {
	return &driver{Backend: New(cfg), table: table, known: map[string]bool{}}
}

func (d *driver) Set(c filter.Chain) {
	c.Table, d.known[c.Name] = d.table, true
	d.next.Chains = append(d.next.Chains, c)
}

func (d *driver) Remove(name string) {
	delete(d.known, name)
	d.next.Gone = append(d.next.Gone, filter.ChainID{Table: d.table, Name: name})
}

func (d *driver) Replace(chains []filter.Chain) {
	for name := range d.known {
		if !slices.ContainsFunc(chains, func(c filter.Chain) bool { return c.Name == name }) {
			d.Remove(name)
		}
	}
	for _, c := range chains {
		d.Set(c)
	}
}

func (d *driver) Hook(hooks map[filter.Hook]filter.HookRules) {
	d.next.Hooks = map[filter.Table]map[filter.Hook]filter.HookRules{d.table: hooks}
}

func (d *driver) Apply(ctx context.Context) error {
	c := d.next
	d.next = filter.Commit{}
	return d.Commit(ctx, c)
}

// refusedIn returns the errors of single chains of which an error is made.
func refusedIn(err error) (list []*filter.Error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			list = append(list, refusedIn(one)...)
		}
	} else if e, ok := errors.AsType[*filter.Error](err); ok && e.Chain != "" && e.Closed {
		list = append(list, e)
	}
	return list
}

// byHand executes lines of restore input as somebody else would.
func (w world) byHand(t *testing.T, lines ...string) {
	t.Helper()
	n := *w.restores
	if err := w.try(lines...); err != nil {
		t.Fatal(err)
	}
	*w.restores = n
}

func (w world) try(lines ...string) error {
	stdin := "*filter\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
	_, _, err := Run(context.Background(), w.Runner, Command{command(w.Family, w.Variant, "restore"),
		[]string{"--noflush"}, []byte(stdin)})
	return err
}

var ourComment = regexp.MustCompile(`-m comment --comment "?cali:[A-Za-z0-9_-]{16}"? `)

// rules gives what the table contains: a line for each of our chains, and each rule without its hash.
func (w world) rules(t *testing.T) []string {
	t.Helper()
	out, _, err := Run(t.Context(), w.Runner, Command{Name: command(w.Family, w.Variant, "save"),
		Args: []string{"-t", "filter"}})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for l := range strings.Lines(string(out)) {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, ":") && strings.Contains(l, " - ") {
			list = append(list, strings.Fields(l)[0])
		}
		if strings.HasPrefix(l, "-A ") {
			list = append(list, ourComment.ReplaceAllString(l[3:], ""))
		}
	}
	slices.SortStableFunc(list, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[0],
			strings.Fields(b)[0])
	})
	return list
}

func (w world) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, w.rules(t)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func apply(t *testing.T, table *driver) {
	t.Helper()
	if err := table.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func marks(n uint32) filter.Rule { return filter.Rule{Action: filter.SetMark{Value: n, Mask: 0xf}} }

// program is a small desired state: two chains, one of which jumps to the other, and hooks.
func program(table *driver) {
	table.Replace([]filter.Chain{
		{Name: "cali-a", Rules: []filter.Rule{{Action: filter.Jump{Chain: "cali-b"}}, marks(1),
			{Action: filter.Return{}}}},
		{Name: "cali-b", Rules: nil},
	})
	table.Hook(map[filter.Hook]filter.HookRules{filter.Forward: {
		First: []filter.Rule{{Action: filter.Jump{Chain: "cali-a"}},
			{Match: filter.Match{Mark: filter.Mark{Value: 1, Mask: 1}}, Action: filter.Drop{}}},
		Last: []filter.Rule{{Match: filter.Match{Mark: filter.Mark{Value: 2, Mask: 2}}, Action: filter.Accept{}}},
	}})
}

var programmed = []string{
	":cali-a", ":cali-b",
	"FORWARD -j cali-a", "FORWARD -m mark --mark 0x1/0x1 -j DROP", "FORWARD -j foreign",
	"FORWARD -m mark --mark 0x2/0x2 -j ACCEPT",
	"cali-a -j cali-b", "cali-a -j MARK --set-xmark 0x1/0xf", "cali-a -j RETURN",
	"foreign -j RETURN",
}

func withForeign(list []string) []string { return slices.Insert(slices.Clone(list), 2, ":foreign") }

func TestProgram(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		w.byHand(t, ":foreign - [0:0]", "-A foreign -j RETURN", "-A FORWARD -j foreign",
			":cali-old - [0:0]", ":cali-older - [0:0]", "-A cali-older -j cali-old", "-A cali-old -j DROP")
		table := newDriver(w.Config)
		program(table)
		apply(t, table)
		w.expect(t, "programmed", withForeign(programmed)...)
		if *w.restores != 1 {
			t.Errorf("%d restores, want 1", *w.restores)
		}

		*w.restores = 0
		apply(t, table)
		restarted := newDriver(w.Config)
		program(restarted)
		apply(t, restarted)
		if *w.restores != 0 {
			t.Errorf("Apply of the same, and after a restart: %d restores, want 0", *w.restores)
		}

		restarted.Replace(nil)
		restarted.Hook(nil)
		apply(t, restarted)
		w.expect(t, "removed", ":foreign", "FORWARD -j foreign", "foreign -j RETURN")

		other := newDriver(w.Config) // one that never heard of the hook that was left
		program(restarted)
		apply(t, restarted)
		apply(t, other)
		w.expect(t, "removed after a restart", ":foreign", "FORWARD -j foreign", "foreign -j RETURN")
	})
}

// TestProgrammed: somebody else's chains are not ours.
func TestProgrammed(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		w.byHand(t, ":foreign - [0:0]", "-A foreign -j RETURN")
		table := newDriver(w.Config)
		for _, want := range []bool{false, true} {
			if got, err := table.Programmed(t.Context()); err != nil || got != want {
				t.Errorf("programmed: %v, %v, want %v", got, err, want)
			}
			program(table)
			apply(t, table)
		}
	})
}

func TestRepair(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		w.byHand(t, ":foreign - [0:0]", "-A foreign -j RETURN", "-A FORWARD -j foreign")
		table := newDriver(w.Config)
		program(table)
		apply(t, table)
		for _, damage := range [][]string{
			nil,
			{"-D cali-a 1"},
			{"-A cali-b -j DROP"},
			{":cali-a - [0:0]"},
			{"-D FORWARD 1"},
			{"-D FORWARD 4"},
			{"-I FORWARD -j RETURN"},
			{"-D FORWARD 1", ":cali-a - [0:0]", "-X cali-a"},
			{":cali-x - [0:0]"},
		} {
			if damage != nil {
				w.byHand(t, damage...)
			}
			changed, err := table.Changed(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want := damage != nil; changed != want {
				t.Errorf("after %q: Changed() = %v, want %v", damage, changed, want)
			}
			apply(t, table)
			want := withForeign(programmed)
			if slices.Contains(w.rules(t), "FORWARD -j RETURN") {
				want = slices.Insert(want, 5, "FORWARD -j RETURN")
			}
			w.expect(t, fmt.Sprintf("after %q", damage), want...)
			if len(damage) > 0 && damage[0] == "-I FORWARD -j RETURN" {
				w.byHand(t, "-D FORWARD -j RETURN")
				apply(t, table)
			}
		}
	})
}

// TestEdits takes a chain through random contents: what the kernel has is what was asked for, in order.
func TestEdits(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		table := newDriver(w.Config)
		for range 15 {
			want := []string{":cali-a"}
			var rules []filter.Rule
			for range r.IntN(7) {
				n := 1 + r.Uint32N(5)
				rules = append(rules, marks(n))
				want = append(want, fmt.Sprintf("cali-a -j MARK --set-xmark 0x%x/0xf", n))
			}
			table.Set(filter.Chain{Name: "cali-a", Rules: rules})
			apply(t, table)
			w.expect(t, "chain", want...)
		}
	})
}

// TestFewLines: one rule more among many costs one line.
func TestFewLines(t *testing.T) {
	fake := NewFake()
	table := newDriver(Config{Family: dataplane.IPv4, Variant: NFT, Runner: fake, Sets: fake.Sets})
	var rules []filter.Rule
	for n := range uint32(100) {
		rules = append(rules, filter.Rule{Action: filter.SetMark{Value: n, Mask: 0xff}})
	}
	table.Set(filter.Chain{Name: "cali-a", Rules: rules})
	apply(t, table)
	var input string
	fake.Fail = func(c Command) error { input += string(c.Stdin); return nil }
	table.Set(filter.Chain{Name: "cali-a", Rules: slices.Insert(rules, 50, marks(1))})
	apply(t, table)
	if lines := strings.Count(input, "\n"); lines != 3 {
		t.Errorf("input of %d lines, want 3:\n%s", lines, input)
	}
}

// TestChainInUse: a foreign rule that jumps to a chain of ours keeps the chain, without its rules, and hinders
// nothing else.
func TestChainInUse(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		table := newDriver(w.Config)
		drop := []filter.Rule{{Action: filter.Drop{}}}
		table.Replace([]filter.Chain{{Name: "cali-a", Rules: drop}, {Name: "cali-b", Rules: drop}})
		apply(t, table)
		w.byHand(t, ":DEBUG - [0:0]", "-A DEBUG -j cali-a")
		// held applies, and expects that cali-a alone is held.
		held := func(what string, want ...string) {
			t.Helper()
			err := table.Apply(t.Context())
			if list := refusedIn(err); len(list) != 1 || list[0].Chain != "cali-a" || !filter.Enforced(err) {
				t.Errorf("%s: Apply: %v, want an error of cali-a alone", what, err)
			}
			w.expect(t, what, append([]string{":DEBUG"}, want...)...)
		}
		table.Replace([]filter.Chain{{Name: "cali-c", Rules: drop}})
		held("in use", ":cali-a", ":cali-c", "DEBUG -j cali-a", "cali-c -j DROP")
		table.Replace([]filter.Chain{{Name: "cali-d", Rules: drop}})
		held("another change", ":cali-a", ":cali-d", "DEBUG -j cali-a", "cali-d -j DROP")
		w.byHand(t, "-A cali-a -j ACCEPT")
		table.ResyncChains()
		held("somebody fills it", ":cali-a", ":cali-d", "DEBUG -j cali-a", "cali-d -j DROP")
		table.Set(filter.Chain{Name: "cali-a", Rules: drop})
		apply(t, table)
		w.expect(t, "needed again", ":DEBUG", ":cali-a", ":cali-d", "DEBUG -j cali-a", "cali-a -j DROP",
			"cali-d -j DROP")
		table.Remove("cali-a")
		held("not needed again", ":cali-a", ":cali-d", "DEBUG -j cali-a", "cali-d -j DROP")
		w.byHand(t, "-D DEBUG -j cali-a")
		apply(t, table)
		w.expect(t, "free", ":DEBUG", ":cali-d", "cali-d -j DROP")
	})
}

// TestRefused: the fake refuses what the kernel refuses, and a refused transaction changes nothing.
func TestRefused(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		w.byHand(t, ":cali-a - [0:0]", ":cali-b - [0:0]", "-A cali-a -j cali-b")
		for _, lines := range [][]string{
			{"-A OUTPUT -j ACCEPT", "-A OUTPUT -j cali-missing"},
			{"-A cali-missing -j DROP"},
			{"-X cali-b"},
			{"-X cali-a"},
			{"-X cali-missing"},
			{"-D cali-a 2"},
			{"-D cali-a -j DROP"},
			{"-I cali-a 3 -j DROP"},
		} {
			if err := w.try(lines...); err == nil {
				t.Errorf("%q was not refused", lines)
			}
			w.expect(t, fmt.Sprint(lines), ":cali-a", ":cali-b", "cali-a -j cali-b")
		}
		table := newDriver(w.Config)
		table.Set(filter.Chain{Name: "cali-c", Rules: []filter.Rule{{Action: filter.Jump{Chain: "cali-missing"}}}})
		if err := table.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "filter") {
			t.Errorf("jump to a missing chain: %v", err)
		}
	})
}

func TestFailureIsRetried(t *testing.T) {
	fake := NewFake()
	table := newDriver(Config{Family: dataplane.IPv4, Variant: NFT, Runner: fake, Sets: fake.Sets})
	program(table)
	broken := errors.New("broken")
	for _, verb := range []string{"save", "restore"} {
		fake.Fail = func(c Command) error {
			if strings.HasSuffix(c.Name, verb) {
				return broken
			}
			return nil
		}
		if err := table.Apply(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%s fails: %v", verb, err)
		}
	}
	fake.Fail = nil
	apply(t, table)
	if fake.Restores != 1 {
		t.Errorf("%d restores, want 1", fake.Restores)
	}
}

// TestEveryRule: the kernel takes what each match and action renders to, and the hash survives.
func TestEveryRule(t *testing.T) {
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		for _, b := range []Variant{NFT, Legacy} {
			t.Run(fmt.Sprintf("%s/%s", f, b), func(t *testing.T) {
				kerneltest.Enter(t)
				net, to := netip.MustParsePrefix("10.1.0.0/16"), netip.MustParseAddr("10.0.0.1")
				if f == dataplane.IPv6 {
					net, to = netip.MustParsePrefix("fd00:1::/32"), netip.MustParseAddr("fd00::1")
				}
				sets := dial(t, f)
				icmpType, icmpProtocol := uint8(8), uint8(1)
				if f == dataplane.IPv6 {
					icmpType, icmpProtocol = 128, 58
				}
				ports, nets := []filter.PortRange{{First: 80, Last: 80}, {First: 1000, Last: 2000}}, []netip.Prefix{net}
				many := append(slices.Clone(nets), netip.PrefixFrom(to, to.BitLen()))
				// both returns a match of one thing at both ends.
				both := func(protocol uint8, e filter.End) filter.Match {
					return filter.Match{Protocol: protocol, Source: e, Dest: e}
				}
				tables := map[filter.Table][]filter.Rule{
					filter.Filter: {
						{Comment: `a "quoted" text ` + strings.Repeat("long", 80), Action: filter.Accept{}},
						{Match: both(6, filter.End{Ports: ports})}, {Match: both(17, filter.End{NotPorts: ports})},
						{Match: both(6, filter.End{Ports: manyPorts(), NotPorts: manyPorts()})},
						{Match: filter.Match{NotProtocol: 132}},
						{Match: both(0, filter.End{Nets: nets})}, {Match: both(0, filter.End{NotNets: nets})},
						{Match: both(6, filter.End{Nets: many})}, {Match: both(0, filter.End{NotNets: many})},
						{Match: both(0, filter.End{Nets: nets, NotNets: nets})},
						{Match: both(0, filter.End{Sets: []string{"n"}})},
						{Match: both(0, filter.End{NotSets: []string{"n"}})},
						{Match: both(6, filter.End{PortSets: []string{"p"}})},
						{Match: both(6, filter.End{NotPortSets: []string{"p"}})},
						{Match: both(6, filter.End{PortSets: []string{"p"}, Ports: ports}),
							Action: filter.SetMark{Value: 1, Mask: 1, Return: true}},
						{Match: filter.Match{Protocol: icmpProtocol, ICMP: &filter.ICMP{Type: icmpType}}},
						{Match: filter.Match{Protocol: icmpProtocol,
							NotICMP: &filter.ICMP{Type: icmpType, Code: 1, HasCode: true}}},
						{Match: filter.Match{In: filter.Interface{Name: "cali", Prefix: true},
							Out: filter.Interface{Name: "eth0"}}},
						{Match: filter.Match{Mark: filter.Mark{Value: 0x10000, Mask: 0x10000}}},
						{Match: filter.Match{Mark: filter.Mark{Mask: 0xffff0000, Not: true}}},
						{Match: filter.Match{
							State: filter.Related | filter.Established | filter.New |
								filter.Invalid | filter.Untracked}},
						{Match: filter.Match{NotState: filter.Translated}},
						{Match: both(0, filter.End{Local: true})},
						{Action: filter.Drop{}}, {Action: filter.Reject{}}, {Action: filter.Return{}},
						{Action: filter.Goto{Chain: "cali-x"}}, {Action: filter.Log{Prefix: "denied", Level: 4}},
					},
					filter.Mangle: {{Action: filter.ClearMark{Mask: 0xff0000}}},
					filter.Raw:    {{Action: filter.NoTrack{}}},
					filter.NAT:    {{Action: filter.Masquerade{}}, {Action: filter.SNAT{To: to}}},
				}
				for name, rules := range tables {
					n := 0
					cfg := Config{Family: f, Variant: b, Scratch: 0xc0000, Runner: counting{restores: &n}, Sets: sets}
					program := func(table *driver) {
						table.next.Sets = []filter.SetChange{{ID: "n", Whole: &filter.Set{}},
							{ID: "p", Whole: &filter.Set{Type: filter.SetPorts}}}
						table.Replace([]filter.Chain{{Name: "cali-a", Rules: rules}, {Name: "cali-x", Rules: nil}})
					}
					table := newDriverOf(cfg, name)
					program(table)
					apply(t, table)
					restarted := newDriverOf(cfg, name)
					program(restarted)
					apply(t, restarted)
					if n != 1 {
						t.Errorf("table %s: %d restores, want 1", name, n)
					}
				}
			})
		}
	}
}

// manyPorts are more than one match of ports holds.
func manyPorts() []filter.PortRange {
	var ports []filter.PortRange
	for i := range uint16(20) {
		ports = append(ports, filter.PortRange{First: i * 10, Last: i*10 + i%2})
	}
	return ports
}

func TestSplitPorts(t *testing.T) {
	ports := manyPorts()
	lists := splitPorts(ports)
	if diff := cmp.Diff(ports, slices.Concat(lists...)); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if len(lists) != 2+1 && len(lists) != 2 {
		t.Errorf("%d lists", len(lists))
	}
	for _, l := range lists {
		if n := strings.Count(strings.ReplaceAll(portList(l), ":", ","), ",") + 1; n > maxPorts {
			t.Errorf("list %v takes %d places", l, n)
		}
	}
}

func TestDetect(t *testing.T) {
	kube := "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
	few, many := "*filter\n-A INPUT -j ACCEPT\n", "*filter\n-A INPUT -j ACCEPT\n-A INPUT -j DROP\n"
	for _, c := range []struct {
		name, nft, legacy string
		want              Variant
	}{
		{"nothing", "", "", NFT},
		{"hint in nft", kube, many, NFT},
		{"hint in legacy", many, kube, Legacy},
		{"more in legacy", few, many, Legacy},
		{"more in nft", many, few, NFT},
		{"no nft", "missing", "", Legacy},
		{"neither", "missing", "missing", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Detect(t.Context(), saves{NFT: c.nft, Legacy: c.legacy})
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("Detect() = %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// saves is a Runner of IPv4 save commands with a fixed output.
type saves map[Variant]string

func (s saves) Start(_ context.Context, c Command) func() ([]byte, int, error) {
	return func() ([]byte, int, error) {
		for b, out := range s {
			if c.Name == command(dataplane.IPv4, b, "save") && out != "missing" {
				return []byte(out), 1, nil
			}
		}
		return nil, 0, errors.New("no such command")
	}
}

// Changed reads the table, which with the nft variant only tests do.
func (d *driver) Changed(ctx context.Context) (bool, error) { return d.tables[d.table].changed(ctx) }
