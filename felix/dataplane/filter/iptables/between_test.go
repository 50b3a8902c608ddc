package iptables

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// The tests of this file look at every state of the fake kernel that a packet can meet while a commit is made. What
// passes there is read from the text of the rules; what should pass, from the rules of the model. Neither reader shares
// code with the backend.

// someAddrs are the addresses of the packets.
var someAddrs = func() (list []netip.Addr) {
	for i := range 6 {
		list = append(list, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	return list
}()

// pair is the addresses of a packet.
type pair struct{ src, dst netip.Addr }

func allPairs() (list []pair) {
	for _, src := range someAddrs {
		for _, dst := range someAddrs {
			list = append(list, pair{src, dst})
		}
	}
	return list
}

const (
	accepted = 0x10000
	passed   = 0x20000
)

// desired is what is desired: two policies after one another, and the members of sets.
type desired struct {
	policies [2][]filter.Rule
	sets     map[string]map[netip.Prefix]bool
}

func (d desired) clone() desired {
	c := desired{policies: d.policies, sets: map[string]map[netip.Prefix]bool{}}
	for id, members := range d.sets {
		c.sets[id] = maps.Clone(members)
	}
	return c
}

// passes evaluates the model.
func (d desired) passes(p pair) bool {
	in := func(id string, addr netip.Addr) bool {
		for n := range d.sets[id] {
			if n.Contains(addr) {
				return true
			}
		}
		return false
	}
	end := func(e filter.End, addr netip.Addr) bool {
		for _, id := range e.Sets {
			if !in(id, addr) {
				return false
			}
		}
		return !slices.ContainsFunc(e.NotSets, func(id string) bool { return in(id, addr) })
	}
policies:
	for _, rules := range d.policies {
		for _, r := range rules {
			if !end(r.Match.Source, p.src) || !end(r.Match.Dest, p.dst) {
				continue
			}
			switch a := r.Action.(type) {
			case filter.Drop:
				return false
			case filter.SetMark:
				if a.Value == accepted {
					return true
				}
				break policies // passed on to the end
			}
		}
	}
	return false
}

// policyChain names the chain of a policy.
func policyChain(i int) string { return fmt.Sprint("cali-p", i) }

// frame are the chain and the hook that evaluate the policies.
func frame() filter.Commit {
	has := func(bit uint32) filter.Match { return filter.Match{Mark: filter.Mark{Value: bit, Mask: bit}} }
	rules := []filter.Rule{{Action: filter.ClearMark{Mask: accepted | passed}}}
	for i := range 2 {
		rules = append(rules,
			filter.Rule{Match: filter.Match{Mark: filter.Mark{Mask: passed}},
				Action: filter.Jump{Chain: policyChain(i)}},
			filter.Rule{Match: has(accepted), Action: filter.Accept{}})
	}
	rules = append(rules, filter.Rule{Action: filter.Drop{}})
	return filter.Commit{
		Chains: []filter.Chain{{Table: filter.Filter, Name: "cali-f", Rules: rules}},
		Hooks: map[filter.Table]map[filter.Hook]filter.HookRules{
			filter.Filter: {filter.Forward: {First: []filter.Rule{{Action: filter.Jump{Chain: "cali-f"}}}}}},
	}
}

// chainOf returns the chain of a policy.
func (d desired) chainOf(i int) filter.Chain {
	return filter.Chain{Table: filter.Filter, Name: policyChain(i), Rules: d.policies[i],
		Fallback: []filter.Rule{{Action: filter.Drop{}}}}
}

// randomPolicy makes rules about sets.
func randomPolicy(r *rand.Rand, ids []string) []filter.Rule {
	some := func() []string {
		if r.IntN(2) == 0 {
			return nil
		}
		return []string{ids[r.IntN(len(ids))]}
	}
	var rules []filter.Rule
	for range r.IntN(4) {
		rule := filter.Rule{Match: filter.Match{Source: filter.End{Sets: some()}}}
		switch r.IntN(3) {
		case 0:
			rule.Match.Source.NotSets = some()
		case 1:
			rule.Match.Dest.Sets = some()
		}
		switch r.IntN(5) {
		case 0, 1:
			rule.Action, rule.Effect = filter.SetMark{Value: accepted, Mask: accepted, Return: true}, filter.Opens
		case 2, 3:
			rule.Action = filter.Drop{}
		case 4:
			rule.Action = filter.SetMark{Value: passed, Mask: passed, Return: true}
		}
		rules = append(rules, rule)
	}
	return rules
}

// randomNet is an address, or a network of two.
func randomNet(r *rand.Rand) netip.Prefix {
	addr := someAddrs[r.IntN(len(someAddrs))]
	return netip.PrefixFrom(addr, 32-r.IntN(5)/4).Masked()
}

// step makes a random change, and the commit for it.
func step(r *rand.Rand, d *desired, ids []string) filter.Commit {
	var c filter.Commit
	for _, id := range ids {
		if r.IntN(2) == 0 {
			continue
		}
		change := filter.SetChange{ID: id}
		for range 1 + r.IntN(2) {
			n := randomNet(r)
			if d.sets[id][n] {
				delete(d.sets[id], n)
				change.Removed = append(change.Removed, filter.Member{Net: n})
			} else if !slices.Contains(change.Removed, filter.Member{Net: n}) {
				d.sets[id][n] = true
				change.Added = append(change.Added, filter.Member{Net: n})
			}
		}
		change.Added = slices.DeleteFunc(change.Added, func(m filter.Member) bool { return !d.sets[id][m.Net] })
		c.Sets = append(c.Sets, change)
	}
	for i := range d.policies {
		if r.IntN(4) == 0 {
			d.policies[i] = randomPolicy(r, ids)
			c.Chains = append(c.Chains, d.chainOf(i))
		}
	}
	return c
}

// start programs an empty kernel.
func start(t *testing.T, b *Backend, ids []string) desired {
	t.Helper()
	d := desired{sets: map[string]map[netip.Prefix]bool{}}
	c := frame()
	for _, id := range ids {
		d.sets[id] = map[netip.Prefix]bool{}
		c.Sets = append(c.Sets, filter.SetChange{ID: id, Whole: &filter.Set{}})
	}
	c.Chains = append(c.Chains, d.chainOf(0), d.chainOf(1))
	if err := b.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return d
}

func newBackend(fake *Fake) *Backend {
	return New(Config{Family: dataplane.IPv4, Variant: NFT, Runner: fake, Sets: fake.Sets, Scratch: 0xc0000})
}

// TestNothingOpensBetween: of random commits of sets and rules, in no state that the kernel goes through a packet
// passes that passes neither before nor after.
func TestNothingOpensBetween(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ids := []string{"a", "b", "c", "d"}
	states, renamed, open := 0, 0, 0
	for range 60 {
		fake := NewFake()
		b := newBackend(fake)
		d := start(t, b, ids)
		for range 25 {
			former := d.clone()
			c := step(r, &d, ids)
			allowed := map[pair]bool{}
			for _, p := range allPairs() {
				allowed[p] = former.passes(p) || d.passes(p)
			}
			look := func() {
				states++
				k := readKernel(t, fake)
				for p, may := range allowed {
					if !may && k.passes(p) {
						t.Fatalf("%v passes in between\nbefore %+v\nafter %+v\ncommit %+v", p, former, d, c)
					}
				}
			}
			fake.Committed, fake.Sets.Changed = look, look
			names := maps.Clone(b.names)
			if err := b.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			fake.Committed, fake.Sets.Changed = nil, nil
			if !maps.Equal(names, b.names) {
				renamed++
			}
			open += check(t, fake, d)
		}
	}
	t.Logf("%d states, %d commits of 1500 renamed a set", states, renamed)
	if states < 1000 || renamed == 0 || renamed > 1400 || open == 0 {
		t.Errorf("%d states, %d commits renamed a set, %d packets passed: the test proves little", states, renamed,
			open)
	}
}

// check compares what passes at rest with the model, and returns how many packets pass.
func check(t *testing.T, fake *Fake, d desired) int {
	t.Helper()
	k, open := readKernel(t, fake), 0
	for _, p := range allPairs() {
		want := d.passes(p)
		if got := k.passes(p); got != want {
			t.Fatalf("%v passes %v, want %v, of %+v", p, got, want, d)
		}
		if want {
			open++
		}
	}
	if names := fake.Sets.Names(); len(names) != len(d.sets) {
		t.Fatalf("sets %v for %d that are desired", names, len(d.sets))
	}
	return open
}

// TestFaults: whatever fails on the way, in the end everything is as desired.
func TestFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ids := []string{"a", "b", "c"}
	broken := errors.New("broken")
	for range 40 {
		fake := NewFake()
		b := newBackend(fake)
		d := start(t, b, ids)
		for range 10 {
			fail := func() error {
				if r.IntN(8) == 0 {
					return broken
				}
				return nil
			}
			fake.Fail = func(Command) error { return fail() }
			fake.Sets.Fail = func(string, string) error { return fail() }
			b.Commit(t.Context(), step(r, &d, ids)) //nolint:errcheck // it is tried again
			if r.IntN(4) == 0 {                     // the process starts again
				b = newBackend(fake)
				restore := frame()
				for _, id := range ids {
					set := &filter.Set{}
					for n := range d.sets[id] {
						set.Members = append(set.Members, filter.Member{Net: n})
					}
					restore.Sets = append(restore.Sets, filter.SetChange{ID: id, Whole: set})
				}
				restore.Chains = append(restore.Chains, d.chainOf(0), d.chainOf(1))
				b.Commit(t.Context(), restore) //nolint:errcheck // it is tried again
			}
		}
		fake.Fail, fake.Sets.Fail = nil, nil
		for range 3 { // what was refused alone is tried again one by one
			b.ResyncChains()
			b.ResyncSets()
			if err := b.Commit(t.Context(), filter.Commit{}); err != nil {
				t.Logf("not yet: %v", err)
			}
		}
		check(t, fake, d)
	}
}

// TestMoved: an address that one set loses and another gains passes all the time.
func TestMoved(t *testing.T) {
	fake := NewFake()
	b := newBackend(fake)
	d := start(t, b, []string{"a", "b"})
	allow := func(id string) filter.Rule {
		return filter.Rule{Match: filter.Match{Source: filter.End{Sets: []string{id}}}, Effect: filter.Opens,
			Action: filter.SetMark{Value: accepted, Mask: accepted, Return: true}}
	}
	d.policies[0] = []filter.Rule{allow("a"), allow("b")}
	moved := []filter.Member{{Net: netip.PrefixFrom(someAddrs[1], 32)}}
	err := b.Commit(t.Context(), filter.Commit{Chains: []filter.Chain{d.chainOf(0)},
		Sets: []filter.SetChange{{ID: "a", Added: moved}}})
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		if !readKernel(t, fake).passes(pair{someAddrs[1], someAddrs[2]}) {
			t.Error("the address passes before and after, and not in between")
		}
	}
	fake.Committed, fake.Sets.Changed = look, look
	for from, to := range map[string]string{"a": "b", "b": "a"} {
		err := b.Commit(t.Context(), filter.Commit{Sets: []filter.SetChange{{ID: from, Removed: moved},
			{ID: to, Added: moved}}})
		if err != nil {
			t.Fatal(err)
		}
		break // one way is enough, and the order of the sets' names must not matter
	}
}

// TestInPlace: the changes that clusters make all the time leave the names of sets alone.
func TestInPlace(t *testing.T) {
	net := func(i int) []filter.Member { return []filter.Member{{Net: netip.PrefixFrom(someAddrs[i], 32)}} }
	fake := NewFake()
	b := newBackend(fake)
	d := start(t, b, []string{"a", "b"})
	d.policies[0] = []filter.Rule{
		{Match: filter.Match{Source: filter.End{Sets: []string{"a"}}}, Effect: filter.Opens,
			Action: filter.SetMark{Value: accepted, Mask: accepted, Return: true}},
		{Match: filter.Match{Source: filter.End{Sets: []string{"b"}}},
			Action: filter.SetMark{Value: passed, Mask: passed, Return: true}},
	}
	for _, c := range []filter.Commit{
		{Chains: []filter.Chain{d.chainOf(0)}},
		{Sets: []filter.SetChange{{ID: "a", Added: net(1)}}},
		{Sets: []filter.SetChange{{ID: "a", Removed: net(1), Added: net(2)}}},
		{Sets: []filter.SetChange{{ID: "b", Added: append(net(1), net(3)...)}}},
		{Sets: []filter.SetChange{{ID: "a", Added: net(4)}},
			Chains: []filter.Chain{{Table: filter.Filter, Name: "cali-other"}}},
	} {
		if err := b.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"cali40a", "cali40b"}, fake.Sets.Names()); diff != "" {
			t.Errorf("after %+v (-want +got):\n%s", c, diff)
		}
	}
}

// TestBrokenSet: a chain that names a set which cannot be made whole is in its fallback, in the same commit, and comes
// back with the set. A chain without a fallback leaves the family open.
func TestBrokenSet(t *testing.T) {
	fake := NewFake()
	b := newBackend(fake)
	d := start(t, b, []string{"a", "b"})
	d.policies[0] = []filter.Rule{{Match: filter.Match{Source: filter.End{NotSets: []string{"a"}}},
		Effect: filter.Opens,
		Action: filter.SetMark{Value: accepted, Mask: accepted, Return: true}}}
	if err := b.Commit(t.Context(), filter.Commit{Chains: []filter.Chain{d.chainOf(0)}}); err != nil {
		t.Fatal(err)
	}
	open := func() bool { return readKernel(t, fake).passes(pair{someAddrs[1], someAddrs[2]}) }
	full := errors.New("full")
	add := filter.SetChange{ID: "a", Added: []filter.Member{{Net: netip.PrefixFrom(someAddrs[5], 32)}}}
	for _, verb := range []string{"add", "remove"} { // the first comes before the rules, the second after them
		fake.Sets.Fail = func(v, name string) error {
			if v == verb && name == "cali40a" {
				return full
			}
			return nil
		}
		err := b.Commit(t.Context(), filter.Commit{Sets: []filter.SetChange{add}})
		failed, is := errors.AsType[*filter.Error](err)
		if !is || failed.Set != "a" || !errors.Is(err, full) || !filter.Enforced(err) || open() {
			t.Errorf("%s fails: %v, open %v", verb, err, open())
		}
		for range 2 {
			if err := b.Commit(t.Context(), filter.Commit{}); err == nil || open() {
				t.Errorf("%s fails still: %v, open %v", verb, err, open())
			}
		}
		fake.Sets.Fail = nil
		if err := b.Commit(t.Context(), filter.Commit{}); err != nil || !open() {
			t.Errorf("%s works again: %v, open %v", verb, err, open())
		}
		add.Added, add.Removed = nil, add.Added
	}
	withheld := filter.Commit{Withheld: map[string]error{"a": full}}
	if err := b.Commit(t.Context(), withheld); !errors.Is(err, full) || open() {
		t.Errorf("withheld: %v, open %v", err, open())
	}
	if _, there := fake.Sets.Has("cali40a"); there {
		t.Error("a set that is withheld is there")
	}
	if err := b.Commit(t.Context(), filter.Commit{Withheld: map[string]error{}}); err != nil || !open() {
		t.Errorf("no longer withheld: %v, open %v", err, open())
	}
	static := d.chainOf(1)
	static.Rules, static.Fallback = d.policies[0], nil
	if err := b.Commit(t.Context(), filter.Commit{Chains: []filter.Chain{static},
		Withheld: withheld.Withheld}); filter.Enforced(err) {
		t.Errorf("a chain without a fallback names the set: %v", err)
	}
}

// TestKeep: a start that does not know everything yet takes nothing from sets; the first commit that does, does.
func TestKeep(t *testing.T) {
	fake := NewFake()
	net := func(i int) []filter.Member { return []filter.Member{{Net: netip.PrefixFrom(someAddrs[i], 32)}} }
	b := newBackend(fake)
	d := start(t, b, []string{"a", "b"})
	d.policies[0] = []filter.Rule{{Match: filter.Match{Source: filter.End{Sets: []string{"a"}}}, Effect: filter.Opens,
		Action: filter.SetMark{Value: accepted, Mask: accepted, Return: true}}}
	known := filter.Commit{Sets: []filter.SetChange{{ID: "a", Added: append(net(1), net(2)...)}},
		Chains: []filter.Chain{d.chainOf(0)}}
	if err := b.Commit(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	restarted := newBackend(fake)
	c := frame()
	c.Keep = true
	c.Sets = []filter.SetChange{{ID: "a", Whole: &filter.Set{Members: append(net(2), net(3)...)}}}
	c.Chains = append(c.Chains, d.chainOf(0), d.chainOf(1))
	for _, want := range []int{3, 2} {
		if err := restarted.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if members, _ := fake.Sets.Has("cali40a"); len(members) != want {
			t.Errorf("keep %v: set a has %v, want %d", c.Keep, members, want)
		}
		if _, there := fake.Sets.Has("cali40b"); there != c.Keep {
			t.Errorf("keep %v: set b is there: %v", c.Keep, there)
		}
		c = filter.Commit{}
	}
}

// kernel is the fake's filter table and sets as a packet meets them.
type kernel struct {
	t     *testing.T
	rules map[string][][]string // words, by chain
	fake  *Fake
}

func readKernel(t *testing.T, fake *Fake) *kernel {
	t.Helper()
	k := &kernel{t: t, rules: map[string][][]string{}, fake: fake}
	failing := fake.Fail
	fake.Fail = nil
	out, _, err := Run(t.Context(), fake, Command{Name: "iptables-nft-save", Args: []string{"-t", "filter"}})
	fake.Fail = failing
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(out)) {
		if words := strings.Fields(l); words[0] == "-A" {
			k.rules[words[1]] = append(k.rules[words[1]], words[2:])
		}
	}
	return k
}

func (k *kernel) passes(p pair) bool {
	mark := uint32(0)
	return k.walk("FORWARD", p, &mark) != "DROP"
}

// walk returns what a chain decides: "ACCEPT", "DROP" or nothing.
func (k *kernel) walk(chain string, p pair, mark *uint32) string {
	for _, words := range k.rules[chain] {
		matches, target, rest := k.match(words, p, *mark)
		switch {
		case !matches:
		case target == "ACCEPT" || target == "DROP":
			return target
		case target == "RETURN":
			return ""
		case target == "MARK":
			var value, mask uint32
			if _, err := fmt.Sscanf(rest[1], "0x%x/0x%x", &value, &mask); err != nil {
				k.t.Fatalf("%q: %v", words, err)
			}
			*mark = *mark&^mask ^ value
		case strings.HasPrefix(target, "cali-"):
			if decided := k.walk(target, p, mark); decided != "" {
				return decided
			}
		case target != "":
			k.t.Fatalf("the target of %q is not known", words)
		}
	}
	return ""
}

// match evaluates a rule's matches, and returns its target with what follows.
func (k *kernel) match(words []string, p pair, mark uint32) (matches bool, target string, rest []string) {
	matches = true
	for i := 0; i < len(words); i++ {
		not := words[i] == "!"
		if not {
			i++
		}
		holds := true
		switch words[i] {
		case "-m":
			i++
			continue
		case "--comment":
			i++
			continue
		case "-j":
			return matches, words[i+1], words[i+2:]
		case "--mark":
			var value, mask uint32
			if _, err := fmt.Sscanf(words[i+1], "0x%x/0x%x", &value, &mask); err != nil {
				k.t.Fatalf("%q: %v", words, err)
			}
			holds, i = mark&mask == value, i+1
		case "--match-set":
			addr := p.src
			if words[i+2] == "dst" {
				addr = p.dst
			}
			members, there := k.fake.Sets.Has(words[i+1])
			if !there {
				k.t.Fatalf("a rule names set %s, which is not there", words[i+1])
			}
			holds = slices.ContainsFunc(members, func(m filter.Member) bool { return m.Net.Contains(addr) })
			i += 2
		default:
			k.t.Fatalf("the match of %q is not known: %s", words, words[i])
		}
		matches = matches && holds != not
	}
	return matches, "", nil
}
