package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane/ipset"
)

// Fake is a Runner that behaves like the save and restore commands and the kernel behind them, for tests. It refuses
// what they refuse: a jump to a chain that does not exist, the deletion of a chain that is not empty or that a rule
// names, the deletion of a rule that is not there, a rule that names a missing set. Of a refused restore the table that
// was refused does not change. It does not check other matches.
type Fake struct {
	// Sets are the kernel's sets. A set that a rule names cannot be destroyed.
	Sets *ipset.Fake
	// Fail, when set, is asked before each command; what it returns is the command's error.
	Fail func(Command) error
	// Committed, when set, is called after each change of a table.
	Committed func()
	// Restores counts the restore commands that ran.
	Restores int

	tables map[string]*fakeTable // by command and table: "iptables-nft/filter"
	pid    int
}

// NewFake returns a Fake whose tables have the kernel's chains only.
func NewFake() *Fake {
	f := &Fake{Sets: ipset.NewFake(), tables: map[string]*fakeTable{}, pid: 1000}
	f.Sets.Named = f.named
	return f
}

// named counts the rules that name a set.
func (f *Fake) named(set string) int {
	n := 0
	for _, t := range f.tables {
		for _, rules := range t.rules {
			for _, rule := range rules {
				if slices.Contains(setsOf(rule), set) {
					n++
				}
			}
		}
	}
	return n
}

// setsOf returns the sets that a rule names.
func setsOf(rule string) []string {
	var sets []string
	words := strings.Fields(rule)
	for i, word := range words[:max(len(words)-1, 0)] {
		if word == "--match-set" {
			sets = append(sets, words[i+1])
		}
	}
	return sets
}

type fakeTable struct {
	sets  *ipset.Fake
	order []string
	rules map[string][]string
}

var kernelChains = map[string][]string{
	"filter": {"INPUT", "FORWARD", "OUTPUT"},
	"nat":    {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"},
	"mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"raw":    {"PREROUTING", "OUTPUT"},
}

func newFakeTable(name string, sets *ipset.Fake) *fakeTable {
	t := &fakeTable{sets: sets, rules: map[string][]string{}}
	for _, chain := range kernelChains[name] {
		t.create(chain)
	}
	return t
}

// Start does what the command of that name does, at once.
func (f *Fake) Start(ctx context.Context, c Command) func() ([]byte, int, error) {
	out, pid, err := f.run(ctx, c)
	return func() ([]byte, int, error) { return out, pid, err }
}

func (f *Fake) run(ctx context.Context, c Command) ([]byte, int, error) {
	f.pid++
	if f.Fail != nil {
		if err := f.Fail(c); err != nil {
			return nil, f.pid, err
		}
	}
	family, verb, _ := cutLast(c.Name, "-")
	switch verb {
	case "save":
		var out strings.Builder
		for _, name := range []string{"raw", "mangle", "nat", "filter"} {
			if t, ok := f.tables[family+"/"+name]; ok && (len(c.Args) < 2 || c.Args[1] == name) {
				t.save(&out, name)
			}
		}
		return []byte(out.String()), f.pid, ctx.Err()
	case "restore":
		f.Restores++
		return nil, f.pid, f.restore(family, string(c.Stdin))
	}
	return nil, f.pid, fmt.Errorf("%s: no such command", c.Name)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (t *fakeTable) create(chain string) {
	t.order = append(t.order, chain)
	t.rules[chain] = []string{}
}

func (t *fakeTable) save(out *strings.Builder, name string) {
	fmt.Fprintf(out, "*%s\n", name)
	for _, chain := range t.order {
		policy := "-"
		if slices.Contains(kernelChains[name], chain) {
			policy = "ACCEPT"
		}
		fmt.Fprintf(out, ":%s %s [0:0]\n", chain, policy)
	}
	for _, chain := range t.order {
		for _, rule := range t.rules[chain] {
			fmt.Fprintf(out, "-A %s %s\n", chain, rule)
		}
	}
	out.WriteString("COMMIT\n")
}

// restore executes the input on a copy of the table that it names, which takes the table's place at COMMIT.
func (f *Fake) restore(family, input string) error {
	var key, name string
	var t *fakeTable
	for i, l := range strings.Split(strings.TrimSuffix(input, "\n"), "\n") {
		var err error
		switch {
		case strings.HasPrefix(l, "*"):
			name = l[1:]
			key = family + "/" + name
			t = newFakeTable(name, f.Sets)
			if old, ok := f.tables[key]; ok {
				t = old.clone()
			}
		case l == "COMMIT":
			f.tables[key] = t
			if f.Committed != nil {
				f.Committed()
			}
		default:
			err = t.execute(name, l)
		}
		if err != nil {
			return fmt.Errorf("%s-restore: line %d failed: %w", family, i+1, err)
		}
	}
	return nil
}

func (t *fakeTable) clone() *fakeTable {
	c := &fakeTable{sets: t.sets, order: slices.Clone(t.order), rules: map[string][]string{}}
	for chain, rules := range t.rules {
		c.rules[chain] = slices.Clone(rules)
	}
	return c
}

// execute does one line of a restore command's input.
func (t *fakeTable) execute(table, l string) error {
	if strings.HasPrefix(l, ":") {
		chain, _, _ := strings.Cut(l[1:], " ")
		if _, there := t.rules[chain]; !there {
			t.create(chain)
		} else if !slices.Contains(kernelChains[table], chain) {
			t.rules[chain] = []string{}
		}
		return nil
	}
	verb, rest, _ := strings.Cut(l, " ")
	chain, args, _ := strings.Cut(rest, " ")
	rules, there := t.rules[chain]
	if !there {
		return fmt.Errorf("no chain by the name %s", chain)
	}
	switch verb {
	case "-A":
		return t.insert(chain, len(rules), args)
	case "-I":
		at := 0
		if number, rule, _ := strings.Cut(args, " "); number != "" && number[0] != '-' && number[0] != '!' {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || n > len(rules)+1 {
				return fmt.Errorf("index of insertion too big: %s", number)
			}
			at, args = n-1, rule
		}
		return t.insert(chain, at, args)
	case "-D":
		return t.remove(chain, args)
	case "-X":
		return t.deleteChain(table, chain)
	}
	return fmt.Errorf("unknown command %q", l)
}

func (t *fakeTable) insert(chain string, at int, rule string) error {
	if target := targetOf(rule); strings.ToUpper(target) != target && t.rules[target] == nil {
		return fmt.Errorf("chain %s does not exist", target)
	}
	for _, set := range setsOf(rule) {
		if _, exists := t.sets.Has(set); !exists {
			return fmt.Errorf("set %s doesn't exist", set)
		}
	}
	t.rules[chain] = slices.Insert(t.rules[chain], at, rule)
	return nil
}

func (t *fakeTable) remove(chain, args string) error {
	at := slices.Index(t.rules[chain], args)
	if n, err := strconv.Atoi(args); err == nil {
		at = n - 1
	}
	if at < 0 || at >= len(t.rules[chain]) {
		return fmt.Errorf("chain %s has no rule %q", chain, args)
	}
	t.rules[chain] = slices.Delete(t.rules[chain], at, at+1)
	return nil
}

func (t *fakeTable) deleteChain(table, chain string) error {
	if slices.Contains(kernelChains[table], chain) || len(t.rules[chain]) > 0 {
		return errors.New("chain is not empty, or the kernel's")
	}
	for _, rules := range t.rules {
		for _, rule := range rules {
			if targetOf(rule) == chain {
				return fmt.Errorf("chain %s is in use", chain)
			}
		}
	}
	delete(t.rules, chain)
	t.order = slices.DeleteFunc(t.order, func(c string) bool { return c == chain })
	return nil
}

// targetOf returns the chain or the target that a rule jumps or goes to, or "".
func targetOf(rule string) string {
	words := strings.Fields(rule)
	for i, w := range words[:max(len(words)-1, 0)] {
		if w == "-j" || w == "-g" {
			return words[i+1]
		}
	}
	return ""
}
