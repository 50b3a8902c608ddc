// Package iptables is the driver of one iptables table of one family: our chains, and our rules in the kernel's chains.
//
// It owns the chains whose names begin with "cali-" and the rules that carry its hash in a comment, and
// touches no other. Each rule's hash is read back, so what is right is not rewritten, whoever programmed it.
// It drives the save and restore commands of the nft or the legacy variant; it knows nothing of policy or
// sets. The agent's goroutine calls it.
package iptables

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
)

// ChainPrefix begins the name of every chain that is ours.
const ChainPrefix = "cali-"

// MaxChainName is the longest name of a chain in bytes, of both variants.
const MaxChainName = 28

// The tables.
const (
	Filter = "filter"
	NAT    = "nat"
	Mangle = "mangle"
	Raw    = "raw"
)

// Chain is one desired chain of ours.
type Chain struct {
	Name  string // begins with ChainPrefix, at most MaxChainName bytes
	Rules []Rule
}

// Hooks are our rules in one of the kernel's chains.
type Hooks struct {
	Insert []Rule // at the chain's top, in this order
	Append []Rule // at its end, in this order
}

// Config says which table a Table drives and how.
type Config struct {
	Family  dataplane.Family
	Table   string // Filter, NAT, Mangle or Raw
	Backend Backend
	Runner  Runner // Exec, or a Fake
}

// Table is the driver.
type Table struct {
	cfg    Config
	loaded bool
	// chains is our chains. Of an actual rule that was read back only the hash is known.
	chains *delta.Map[string, []line]
	hooks  map[string]hooks
	// foreign is the kernel's chains, and any other chain that has a rule of ours; a rule that is not ours is empty.
	foreign map[string][]line
	// pids are of our last commands, by which events that we caused are recognised.
	pids [8]int
	runs int
}

// line is a rule as its hash and its arguments.
type line struct {
	hash, args string
}

type hooks struct {
	insert, append []line
}

// New returns a driver that wants no chains and has not read the kernel yet.
func New(cfg Config) *Table {
	return &Table{
		cfg:    cfg,
		chains: delta.New[string](sameRules),
		hooks:  map[string]hooks{},
	}
}

func sameRules(a, b []line) bool {
	return slices.EqualFunc(a, b, func(a, b line) bool { return a.hash == b.hash })
}

func render(rules []Rule) []line {
	lines := make([]line, len(rules))
	for i, r := range rules {
		lines[i] = r.line()
	}
	return lines
}

// Set makes a chain desired, in place of what was desired under its name.
func (t *Table) Set(c Chain) { t.chains.Set(c.Name, render(c.Rules)) }

// Remove makes a chain not desired.
func (t *Table) Remove(name string) { t.chains.Unset(name) }

// Replace makes exactly these chains desired. It leaves the hooks.
func (t *Table) Replace(chains []Chain) {
	desired := make(map[string][]line, len(chains))
	for _, c := range chains {
		desired[c.Name] = render(c.Rules)
	}
	t.chains.Replace(desired)
}

// SetHooks makes these rules desired in one of the kernel's chains, in place of what was desired there.
func (t *Table) SetHooks(kernelChain string, h Hooks) {
	t.hooks[kernelChain] = hooks{render(h.Insert), render(h.Append)}
}

// Name is "iptables".
func (t *Table) Name() string { return "iptables" }

// Resync makes the next Apply read the table back.
func (t *Table) Resync() { t.loaded = false }

// Observe takes chain events, which only the nft backend has.
func (t *Table) Observe(e dataplane.Event) bool {
	switch e.Kind {
	case dataplane.EventLost:
		t.Resync()
		return true
	case dataplane.EventChains:
		if t.cfg.Backend != NFT || e.Family != t.cfg.Family || e.TableName != t.cfg.Table ||
			slices.Contains(t.pids[:], int(e.PortID)) || !slices.ContainsFunc(e.Chains, t.concerns) {
			return false
		}
		t.Resync()
		return true
	}
	return false
}

// concerns reports whether a chain has, or should have, rules of ours.
func (t *Table) concerns(chain string) bool {
	_, hooked := t.hooks[chain]
	return hooked || strings.HasPrefix(chain, ChainPrefix) || slices.ContainsFunc(t.foreign[chain], line.ours)
}

// Changed reads the table and reports whether somebody changed what is ours, and if so does what Resync does. It is
// the way to notice with the legacy backend, which has no events.
func (t *Table) Changed(ctx context.Context) (bool, error) {
	if !t.loaded {
		return false, nil
	}
	now, err := t.save(ctx)
	if err != nil {
		return false, err
	}
	changed := len(now.chains) != len(t.chains.AllActual())
	for name, rules := range now.chains {
		known, ok := t.chains.Actual(name)
		changed = changed || !ok || !sameRules(known, rules)
	}
	for name, rules := range now.foreign {
		changed = changed || t.concerns(name) && !sameRules(ours(t.foreign[name]), ours(rules))
	}
	for name, rules := range t.foreign {
		changed = changed || len(now.foreign[name]) == 0 && len(ours(rules)) > 0
	}
	if changed {
		t.Resync()
	}
	return changed, nil
}

// Apply makes the table match in one transaction. If the kernel refuses it, the deletion of chains is tried apart from
// the rest: a foreign rule that jumps to a chain of ours hinders nothing but that chain's end.
func (t *Table) Apply(ctx context.Context) error {
	if err := t.load(ctx); err != nil {
		return err
	}
	_, dead := t.chains.Pending()
	firstErr := t.restore(ctx, t.transaction(dead))
	if firstErr == nil {
		return nil
	}
	t.Resync()
	if len(dead) == 0 || ctx.Err() != nil {
		return firstErr
	}
	if err := t.load(ctx); err != nil {
		return err
	}
	if err := t.restore(ctx, t.transaction(nil)); err != nil {
		t.Resync()
		return err
	}
	_, dead = t.chains.Pending()
	slices.Sort(dead)
	var failed []string
	for _, name := range dead {
		if t.restore(ctx, t.transaction([]string{name})) != nil {
			failed = append(failed, name)
		}
	}
	if len(failed) > 0 {
		t.Resync()
		return fmt.Errorf("delete chains %s of table %s: %w", strings.Join(failed, " "), t.cfg.Table, firstErr)
	}
	return nil
}

func (t *Table) load(ctx context.Context) error {
	if t.loaded {
		return nil
	}
	now, err := t.save(ctx)
	if err != nil {
		return err
	}
	t.chains.Load(now.chains)
	t.foreign = now.foreign
	t.loaded = true
	return nil
}

// run runs one of the table's commands: "save" or "restore".
func (t *Table) run(ctx context.Context, verb string, stdin []byte, args ...string) ([]byte, error) {
	out, pid, err := t.cfg.Runner.Run(ctx, Command{
		Name: command(t.cfg.Family, t.cfg.Backend, verb), Args: args, Stdin: stdin,
	})
	t.pids[t.runs%len(t.pids)] = pid
	t.runs++
	return out, err
}
