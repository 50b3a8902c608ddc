package iptables

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// prepare is load and begin.
func (t *table) prepare(ctx context.Context) (*transaction, error) {
	if err := t.load(ctx); err != nil {
		return nil, err
	}
	return t.begin(), nil
}

// begin returns the transaction that makes the table as desired, without what is known to be refused.
func (t *table) begin() *transaction {
	t.retried, t.stillHeld = slices.Sorted(maps.Keys(t.refused)), t.whatIsHeld()
	return t.transaction(t.dead())
}

// repair makes the table as desired in parts after a transaction failed, so that a change that is refused stops no
// other. Chains with a fallback get the fallback. A chain to be deleted that another program's rule names is emptied.
func (t *table) repair(ctx context.Context) error {
	t.resync()
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.apart(ctx)
}

// again tries what was refused before, after the rest was done.
func (t *table) again(ctx context.Context) {
	t.someOf(t.retried, t.refused, func(some []string) error { return t.try(ctx, some) })
	t.someOf(t.stillHeld, t.held, func(some []string) error { return t.restore(ctx, t.transaction(some)) })
}

// dead returns the chains to be deleted, without those that are held.
func (t *table) dead() []string {
	_, dead := t.chains.Pending()
	return slices.DeleteFunc(dead, func(name string) bool { return t.held[name] != nil })
}

// whatIsHeld returns the held chains, and forgets those that are gone or no longer empty.
func (t *table) whatIsHeld() []string {
	for name := range t.held {
		if rules, there := t.chains.Actual(name); !there || len(rules) > 0 {
			delete(t.held, name)
		}
	}
	return slices.Sorted(maps.Keys(t.held))
}

// refusals returns an error for each chain in its fallback form and for each held chain.
func (t *table) refusals() []error {
	var errs []error
	refuse := func(name string, err error) {
		errs = append(errs, &filter.Error{Table: t.name, Chain: name, Closed: true, Err: err})
	}
	for _, name := range slices.Sorted(maps.Keys(t.refused)) {
		refuse(name, fmt.Errorf("%s denies, the kernel refused the chain: %w", t.closable[name].about, t.refused[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(t.held)) {
		refuse(name, fmt.Errorf("the chain is not needed and stays, empty: remove the rules of others that name it: %w",
			t.held[name]))
	}
	return errs
}

// apart does what a refused transaction was to do in parts.
func (t *table) apart(ctx context.Context) error {
	if err := t.load(ctx); err != nil {
		return err
	}
	if err := t.restore(ctx, t.transaction(nil)); err != nil {
		if err := t.isolate(ctx, err); err != nil {
			t.resync()
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
		t.resync()
		return err
	}
	maps.Copy(t.held, failed)
	return nil
}

// isolate finds the chains that the kernel refuses, and puts their fallbacks in their places. First everything else is
// done; meanwhile a chain that is there stays as it is, and a new one has its fallback.
func (t *table) isolate(ctx context.Context, cause error) error {
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
func (t *table) narrow(ctx context.Context, suspects []string) error {
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
func (t *table) try(ctx context.Context, names []string) error {
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

// someOf tries the failed names: all of them, and if that fails, one of them, another one each time.
func (t *table) someOf(names []string, failed map[string]error, try func([]string) error) {
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
