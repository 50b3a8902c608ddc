package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// RefusedError says that chains with a fallback stand in that form: the rest of the table is as desired. What the
// kernel refused is tried again by each Apply.
type RefusedError struct {
	Table string
	Errs  []error // one a chain
}

func (e *RefusedError) Error() string { return errors.Join(e.Errs...).Error() }

// Apply makes the table match in one transaction. If the kernel refuses it, it is taken apart, so that what cannot be done
// hinders nothing else: chains that have a fallback get it, a *RefusedError saying so, and each deletion is tried
// alone: a foreign rule that jumps to a chain of ours hinders that chain's end only.
func (t *Table) Apply(ctx context.Context) error { return t.Start(ctx)() }

// Start begins what Apply does; finish does the rest. Until then the Table is not used otherwise.
func (t *Table) Start(ctx context.Context) (finish func() error) {
	if err := t.load(ctx); err != nil {
		return func() error { return err }
	}
	retried := slices.Sorted(maps.Keys(t.refused))
	_, dead := t.chains.Pending()
	wait := t.begin(ctx, t.transaction(dead))
	return func() error {
		if err := wait(); err != nil {
			t.Resync()
			if ctx.Err() != nil {
				return err
			}
			if err := t.apart(ctx, err); err != nil {
				return err
			}
		}
		t.retry(ctx, retried)
		return t.refusals()
	}
}

// refusals gives an error that names the chains that stand in their fallback.
func (t *Table) refusals() error {
	if len(t.refused) == 0 {
		return nil
	}
	refused := &RefusedError{Table: t.cfg.Table}
	for _, name := range slices.Sorted(maps.Keys(t.refused)) {
		refused.Errs = append(refused.Errs, fmt.Errorf("%s denies, chain %s was refused: %w", t.closable[name].about, name, t.refused[name]))
	}
	return refused
}

// apart does what a refused transaction was to do in parts.
func (t *Table) apart(ctx context.Context, cause error) error {
	if err := t.load(ctx); err != nil {
		return err
	}
	if err := t.restore(ctx, t.transaction(nil)); err != nil {
		if err := t.isolate(ctx, err); err != nil {
			t.Resync()
			return err
		}
	}
	_, dead := t.chains.Pending()
	slices.Sort(dead)
	var failed []string
	for _, name := range dead {
		if t.restore(ctx, t.transaction([]string{name})) != nil {
			failed = append(failed, name)
		}
	}
	if len(failed) > 0 {
		t.Resync()
		return fmt.Errorf("delete chains %s of table %s: %w", strings.Join(failed, " "), t.cfg.Table, cause)
	}
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

// narrow programs chains that may be refused, and those that are in their fallback. Its error is that not even that could be done.
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

// retry tries chains that were refused before: all of them, and if that fails one, each time another.
func (t *Table) retry(ctx context.Context, names []string) {
	names = slices.DeleteFunc(names, func(name string) bool { return t.refused[name] == nil })
	if len(names) == 0 {
		return
	}
	t.turn++
	for _, some := range [][]string{names, {names[t.turn%len(names)]}} {
		if t.try(ctx, some) == nil {
			for _, name := range some {
				delete(t.refused, name)
			}
			return
		}
	}
}
