package iptables

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// table is the driver of one table: our chains, and our rules in the kernel's chains.
type table struct {
	name     filter.Table
	commands *commands
	loaded   bool
	// chains is our chains. Of an actual rule that was read back only the hash is known.
	chains *delta.Map[string, []line]
	hooks  map[string]hooks
	// closable are the desired chains that have a fallback, and refused those that it stands for.
	closable map[string]closable
	refused  map[string]error
	// held are the chains that were to be deleted but stay, empty, because another program's rule names them.
	held map[string]error
	// retried and stillHeld are the chains that a commit tries again after the rest.
	retried, stillHeld []string
	turn               int // decides which of the refused and held chains is tried again next
	// foreign is the kernel's chains, and any other chain that has a rule of ours; a rule that is not ours is empty.
	foreign map[string][]line
	// own counts, by process id, our changes whose events have not arrived yet. A process of another PID namespace can
	// have the same id. Each change has one event, so the event of such a process is one too many, in whichever order
	// the two arrive.
	own    map[uint32]int
	counts TableCounts
	rules  int // of ours in the kernel
}

type hooks struct {
	insert, append []line
}

// closable is both forms of a chain with a fallback.
type closable struct {
	rules, fallback []line
	about           string
}

// newTable returns a driver that wants no chains and has not read the kernel yet.
func newTable(name filter.Table, c *commands) *table {
	return &table{
		name: name, commands: c,
		chains: delta.New[string](sameRules), hooks: map[string]hooks{},
		closable: map[string]closable{}, refused: map[string]error{},
		held: map[string]error{}, own: map[uint32]int{},
	}
}

// set makes a chain desired, in place of what was desired under its name. A chain without a fallback has nil for it.
func (t *table) set(name string, c closable) {
	delete(t.held, name)
	if c.fallback == nil {
		t.remove(name)
		t.chains.Set(name, c.rules)
		return
	}
	if former, ok := t.closable[name]; ok && t.refused[name] != nil && sameRules(former.rules, c.rules) {
		return
	}
	delete(t.refused, name)
	t.closable[name] = c
	t.chains.Set(name, c.rules)
}

// remove makes a chain not desired.
func (t *table) remove(name string) {
	delete(t.closable, name)
	delete(t.refused, name)
	t.chains.Unset(name)
}

// hook makes exactly these rules desired at the hooks, and reports whether that differs from what was desired.
func (t *table) hook(all map[filter.Hook]filter.HookRules, w writer) (changed bool) {
	former := t.hooks
	t.hooks = map[string]hooks{}
	for hook, h := range all {
		t.hooks[string(hook)] = hooks{w.lines(h.First), w.lines(h.Last)}
	}
	return !maps.EqualFunc(former, t.hooks, func(a, b hooks) bool {
		return sameRules(a.insert, b.insert) && sameRules(a.append, b.append)
	})
}

// resync makes the next commit read the table back.
func (t *table) resync() { t.loaded = false }

// observe takes chain events, which only the nft backend has.
func (t *table) observe(e dataplane.Event) bool {
	switch e.Kind {
	case dataplane.EventLost:
	case dataplane.EventChains:
		if t.commands.variant != NFT || e.Family != t.commands.family || e.TableName != string(t.name) ||
			t.takeOwn(e.PortID) || !slices.ContainsFunc(e.Chains, t.concerns) {
			return false
		}
	default:
		return false
	}
	clear(t.own) // an event of ours may have come under another number, if a stranger had that of our process
	t.resync()
	return true
}

// takeOwn reports whether an event of a port belongs to one of our changes, and removes that change from own.
func (t *table) takeOwn(port uint32) bool {
	n := t.own[port]
	if n > 1 {
		t.own[port] = n - 1
	} else {
		delete(t.own, port)
	}
	return n > 0
}

// concerns reports whether a chain has, or should have, rules of ours.
func (t *table) concerns(chain string) bool {
	_, hooked := t.hooks[chain]
	return hooked || strings.HasPrefix(chain, filter.ChainPrefix) || slices.ContainsFunc(t.foreign[chain], line.ours)
}

// changed reads the table and reports whether somebody changed what is ours, and if so does what resync does. It is
// the way to notice with the legacy backend, which has no events.
func (t *table) changed(ctx context.Context) (bool, error) {
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
		t.resync()
	}
	return changed, nil
}

// programmed reports whether the kernel has chains of ours. It does not count as reading the table for a commit.
func (t *table) programmed(ctx context.Context) (bool, error) {
	now, err := t.save(ctx)
	return len(now.chains) > 0, err
}

func (t *table) load(ctx context.Context) error {
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
