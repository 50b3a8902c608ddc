// Package iptables is the driver of one iptables table of one family: our chains, and our rules in the kernel's chains.
// It writes the rules of package filter as text.
//
// It owns the chains whose names begin with "cali-" and the rules that carry its hash in a comment, and
// touches no other. Each rule's hash is read back, so what is right is not rewritten, whoever programmed it.
// It drives the save and restore commands of the nft or the legacy variant; it knows nothing of policy or
// sets. The agent's goroutine calls it.
package iptables

import (
	"context"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
)

// Config says which table a Table drives and how.
type Config struct {
	Family  dataplane.Family
	Table   filter.Table
	Backend Backend
	// Scratch are two bits of the mark that rules with alternatives use, and nothing else.
	Scratch uint32
	Runner  Runner // Exec, or a Fake
}

// Table is the driver.
type Table struct {
	cfg    Config
	writer writer
	loaded bool
	// chains is our chains. Of an actual rule that was read back only the hash is known.
	chains *delta.Map[string, []line]
	hooks  map[string]hooks
	// dispatches are the desired dispatches, whose chains are among chains.
	dispatches map[string]*dispatch
	// closable are the desired chains that have a fallback, and refused those that it stands for.
	closable map[string]closable
	refused  map[string]error
	// held are the chains that were to be deleted but stay, empty, because another program's rule names them.
	held map[string]error
	turn int // decides which of the refused and held chains is tried again next
	// foreign is the kernel's chains, and any other chain that has a rule of ours; a rule that is not ours is empty.
	foreign map[string][]line
	// own counts, by process id, our changes whose events have not arrived yet. A process of another PID namespace can
	// have the same id. Each change has one event, so the event of such a process is one too many, in whichever order
	// the two arrive.
	own    map[uint32]int
	counts Counts
}

type hooks struct {
	insert, append []line
}

// closable is both forms of a chain with a fallback.
type closable struct {
	rules, fallback []line
	about           string
}

// New returns a driver that wants no chains and has not read the kernel yet.
func New(cfg Config) *Table {
	all := cfg.Scratch & -cfg.Scratch
	return &Table{
		cfg: cfg,
		writer: writer{family: cfg.Family, all: all, part: cfg.Scratch &^ all,
			setName: func(id string) string { return ipset.SetName(cfg.Family, id) }},
		chains: delta.New[string](sameRules),
		hooks:  map[string]hooks{}, dispatches: map[string]*dispatch{},
		closable: map[string]closable{}, refused: map[string]error{},
		held: map[string]error{}, own: map[uint32]int{},
	}
}

// Set makes a chain desired, in place of what was desired under its name.
func (t *Table) Set(c filter.Chain) {
	delete(t.held, c.Name)
	rules := t.writer.lines(c.Rules)
	if c.Fallback == nil {
		t.Remove(c.Name)
		t.chains.Set(c.Name, rules)
		return
	}
	if former, ok := t.closable[c.Name]; ok && t.refused[c.Name] != nil && sameRules(former.rules, rules) {
		return
	}
	delete(t.refused, c.Name)
	t.closable[c.Name] = closable{rules, t.writer.lines(c.Fallback), c.About}
	t.chains.Set(c.Name, rules)
}

// Dispatch makes a dispatch desired, in place of what was desired under its name.
func (t *Table) Dispatch(d filter.Dispatch) {
	former := t.dispatches[d.Name]
	t.dispatches[d.Name] = newDispatch(d)
	present := map[string]bool{}
	for _, c := range t.dispatches[d.Name].chains() {
		present[c.Name] = true
		t.Set(c)
	}
	t.removeTree(former, present)
}

// RemoveDispatch makes a dispatch not desired.
func (t *Table) RemoveDispatch(name string) {
	t.removeTree(t.dispatches[name], nil)
	delete(t.dispatches, name)
}

// removeTree removes the chains of a dispatch but those in keep.
func (t *Table) removeTree(d *dispatch, keep map[string]bool) {
	if d == nil {
		return
	}
	for _, c := range d.chains() {
		if !keep[c.Name] {
			t.Remove(c.Name)
		}
	}
}

// Remove makes a chain not desired.
func (t *Table) Remove(name string) {
	delete(t.closable, name)
	delete(t.refused, name)
	t.chains.Unset(name)
}

// Replace makes exactly these chains and dispatches desired. It leaves the hooks.
func (t *Table) Replace(chains []filter.Chain, dispatches ...filter.Dispatch) {
	wanted := map[string]bool{}
	for _, d := range dispatches {
		t.Dispatch(d)
		for _, c := range t.dispatches[d.Name].chains() {
			wanted[c.Name] = true
		}
	}
	for _, c := range chains {
		wanted[c.Name] = true
	}
	for name := range t.chains.AllDesired() {
		if !wanted[name] {
			t.Remove(name)
			delete(t.dispatches, name)
		}
	}
	for _, c := range chains {
		t.Set(c)
	}
}

// Hook makes exactly these rules desired at the hooks.
func (t *Table) Hook(all map[filter.Hook]filter.HookRules) {
	clear(t.hooks)
	for hook, h := range all {
		t.hooks[string(hook)] = hooks{t.writer.lines(h.First), t.writer.lines(h.Last)}
	}
}

// Name is "iptables".
func (t *Table) Name() string { return "iptables" }

// Resync makes the next Apply read the table back.
func (t *Table) Resync() { t.loaded = false }

// Observe takes chain events, which only the nft backend has.
func (t *Table) Observe(e dataplane.Event) bool {
	switch e.Kind {
	case dataplane.EventLost:
	case dataplane.EventChains:
		if t.cfg.Backend != NFT || e.Family != t.cfg.Family || e.TableName != string(t.cfg.Table) ||
			t.takeOwn(e.PortID) || !slices.ContainsFunc(e.Chains, t.concerns) {
			return false
		}
	default:
		return false
	}
	clear(t.own) // an event of ours may have come under another number, if a stranger had that of our process
	t.Resync()
	return true
}

// takeOwn reports whether an event of a port belongs to one of our changes, and removes that change from own.
func (t *Table) takeOwn(port uint32) bool {
	n := t.own[port]
	if n > 1 {
		t.own[port] = n - 1
	} else {
		delete(t.own, port)
	}
	return n > 0
}

// concerns reports whether a chain has, or should have, rules of ours.
func (t *Table) concerns(chain string) bool {
	_, hooked := t.hooks[chain]
	return hooked || strings.HasPrefix(chain, filter.ChainPrefix) || slices.ContainsFunc(t.foreign[chain], line.ours)
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
		h, hooked := t.hooks[name]
		changed = changed || hooked && !h.inPlace(rules) ||
			t.concerns(name) && !sameRules(ours(t.foreign[name]), ours(rules))
	}
	for name, rules := range t.foreign {
		changed = changed || len(now.foreign[name]) == 0 && len(ours(rules)) > 0
	}
	if changed {
		t.Resync()
	}
	return changed, nil
}

// Programmed reports whether the kernel has chains of ours. It does not count as reading the table for Apply.
func (t *Table) Programmed(ctx context.Context) (bool, error) {
	now, err := t.save(ctx)
	return len(now.chains) > 0, err
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
	t.recount()
	return nil
}

// command returns one of the table's commands: "save" or "restore".
func (t *Table) command(verb string, stdin []byte, args ...string) Command {
	return Command{Name: command(t.cfg.Family, t.cfg.Backend, verb), Args: args, Stdin: stdin}
}
