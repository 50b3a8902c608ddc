package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// RefusedError means that chains have their fallback form, or that chains to be deleted stay, empty. Apart from that
// the table is as desired. Each Apply tries again what the kernel refused.
type RefusedError struct {
	Table filter.Table
	Errs  []error // one a chain
}

func (e *RefusedError) Error() string { return errors.Join(e.Errs...).Error() }

// Apply makes the table match in one transaction. If the kernel refuses it, Apply splits it, so that a change that is
// refused stops no other. Chains with a fallback get the fallback. A chain to be deleted that another program's rule
// names is emptied. A *RefusedError names both kinds of chains.
func (t *Table) Apply(ctx context.Context) error { return t.Start(ctx)() }

// Start begins what Apply does; finish does the rest. Until then the Table is not used otherwise.
func (t *Table) Start(ctx context.Context) (finish func() error) {
	if err := t.load(ctx); err != nil {
		return func() error { return err }
	}
	retried, held := slices.Sorted(maps.Keys(t.refused)), t.stillHeld()
	wait := t.begin(ctx, t.transaction(t.dead()))
	return func() error {
		if err := wait(); err != nil {
			t.Resync()
			if ctx.Err() != nil {
				return err
			}
			if err := t.apart(ctx); err != nil {
				return err
			}
		}
		t.retry(ctx, retried)
		t.letGo(ctx, held)
		return t.refusals()
	}
}

// dead returns the chains to be deleted, without those that are held.
func (t *Table) dead() []string {
	_, dead := t.chains.Pending()
	return slices.DeleteFunc(dead, func(name string) bool { return t.held[name] != nil })
}

// stillHeld returns the held chains, and forgets those that are gone or no longer empty.
func (t *Table) stillHeld() []string {
	for name := range t.held {
		if rules, there := t.chains.Actual(name); !there || len(rules) > 0 {
			delete(t.held, name)
		}
	}
	return slices.Sorted(maps.Keys(t.held))
}

// refusals returns an error that names the chains in their fallback form and the held chains.
func (t *Table) refusals() error {
	if len(t.refused)+len(t.held) == 0 {
		return nil
	}
	refused := &RefusedError{Table: t.cfg.Table}
	for _, name := range slices.Sorted(maps.Keys(t.refused)) {
		refused.Errs = append(refused.Errs, fmt.Errorf("%s denies, chain %s was refused: %w", t.closable[name].about, name, t.refused[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(t.held)) {
		refused.Errs = append(refused.Errs, fmt.Errorf("chain %s of table %s is not needed and stays, empty: "+
			"remove the rules of others that name it: %w", name, t.cfg.Table, t.held[name]))
	}
	return refused
}

// apart does what a refused transaction was to do in parts.
func (t *Table) apart(ctx context.Context) error {
	if err := t.load(ctx); err != nil {
		return err
	}
	if err := t.restore(ctx, t.transaction(nil)); err != nil {
		if err := t.isolate(ctx, err); err != nil {
			t.Resync()
			return err
		}
	}
	dead := t.dead()
	slices.Sort(dead)
	failed := map[string]error{}
	for _, name := range dead {
		if err := t.restore(ctx, t.transaction([]string{name})); err != nil {
			failed[name] = err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if err := t.restore(ctx, t.emptying(slices.Sorted(maps.Keys(failed)))); err != nil {
		t.Resync()
		return err
	}
	maps.Copy(t.held, failed)
	return nil
}

// isolate finds the chains that the kernel refuses, and puts their fallbacks in their places. First everything else is
// done; meanwhile a chain that is there stays as it is, and a new one has its fallback.
func (t *Table) isolate(ctx context.Context, cause error) error {
	wanted, _ := t.chains.Pending()
	suspects := slices.DeleteFunc(wanted, func(name string) bool { _, can := t.closable[name]; return !can })
	if len(suspects) == 0 {
		return cause
	}
	slices.Sort(suspects)
	for _, name := range suspects {
		if actual, there := t.chains.Actual(name); there {
			t.chains.Set(name, actual)
		} else {
			t.chains.Set(name, t.closable[name].fallback)
		}
	}
	err := t.restore(ctx, t.transaction(nil))
	if err == nil {
		err = t.narrow(ctx, suspects)
	}
	if err != nil {
		for _, name := range suspects {
			delete(t.refused, name)
			t.chains.Set(name, t.closable[name].rules)
		}
	}
	return err
}

// narrow programs chains that may be refused, and those that are in their fallback. Its error is that not even that
// could be done.
func (t *Table) narrow(ctx context.Context, suspects []string) error {
	cause := t.try(ctx, suspects)
	switch {
	case cause == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case len(suspects) == 1:
		name := suspects[0]
		t.refused[name] = cause
		t.chains.Set(name, t.closable[name].fallback)
		return t.restore(ctx, t.transaction(nil))
	}
	half := len(suspects) / 2
	if err := t.narrow(ctx, suspects[:half]); err != nil {
		return err
	}
	return t.narrow(ctx, suspects[half:])
}

// try programs chains as they ought to be, or leaves them.
func (t *Table) try(ctx context.Context, names []string) error {
	former := map[string][]line{}
	for _, name := range names {
		former[name], _ = t.chains.Desired(name)
		t.chains.Set(name, t.closable[name].rules)
	}
	err := t.restore(ctx, t.transaction(nil))
	if err != nil {
		for name, lines := range former {
			t.chains.Set(name, lines)
		}
	}
	return err
}

// retry tries chains that were refused before.
func (t *Table) retry(ctx context.Context, names []string) {
	t.again(names, t.refused, func(some []string) error { return t.try(ctx, some) })
}

// letGo tries to delete chains that were held before.
func (t *Table) letGo(ctx context.Context, names []string) {
	t.again(names, t.held, func(some []string) error { return t.restore(ctx, t.transaction(some)) })
}

// again tries the failed names: all of them, and if that fails, one of them, another one each time.
func (t *Table) again(names []string, failed map[string]error, try func([]string) error) {
	names = slices.DeleteFunc(names, func(name string) bool { return failed[name] == nil })
	if len(names) == 0 {
		return
	}
	t.turn++
	for _, some := range [][]string{names, {names[t.turn%len(names)]}} {
		if try(some) == nil {
			for _, name := range some {
				delete(failed, name)
			}
			return
		}
	}
}
