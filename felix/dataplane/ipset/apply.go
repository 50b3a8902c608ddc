package ipset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// FailedError says which sets are not as desired; the others are.
type FailedError struct {
	Sets map[string]error // by name
}

func (e *FailedError) Error() string {
	var errs []error
	said := map[string]bool{} // many sets may have failed for one reason
	for _, name := range slices.Sorted(maps.Keys(e.Sets)) {
		if err := e.Sets[name]; !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...).Error()
}

// Apply is Grow and then Shrink.
func (s *Sets) Apply(ctx context.Context) error {
	return errors.Join(s.Grow(ctx), s.Shrink(ctx))
}

// Grow creates sets and adds members: what must be there before a rule that names a set. What it could not do of single
// sets is a *FailedError.
func (s *Sets) Grow(ctx context.Context) error {
	err := s.pass(ctx, s.grow)
	failed, known := errors.AsType[*FailedError](err)
	if err != nil && !known {
		return err
	}
	for name, reason := range s.withheld {
		if e := s.sets[name]; e != nil && e.wanted {
			if failed == nil {
				failed = &FailedError{map[string]error{}}
			}
			failed.Sets[name] = reason
		}
	}
	if failed == nil {
		return nil
	}
	return failed
}

// Shrink removes members and sets: what must go after the last rule that names a set.
func (s *Sets) Shrink(ctx context.Context) error {
	return s.pass(ctx, s.shrink)
}

// pass does one phase for every dirty set, in the order of their names.
func (s *Sets) pass(ctx context.Context, phase func(string, *set) error) error {
	if !s.loaded {
		if err := s.load(); err != nil {
			return err
		}
	}
	failed := map[string]error{}
	for _, name := range slices.Sorted(maps.Keys(s.dirty)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e := s.sets[name]
		if err := phase(name, e); err != nil {
			failed[name] = err
			s.Resync() // what we believe may be wrong, or a batch got in by half
			continue
		}
		done := e.wanted == (e.actual != nil) && e.members.Settled()
		if s.withheld[name] != nil {
			done = e.actual == nil
		}
		if done {
			delete(s.dirty, name)
			if !e.wanted {
				delete(s.sets, name)
			}
		}
	}
	if len(failed) > 0 {
		return &FailedError{failed}
	}
	return nil
}

func (s *Sets) grow(name string, e *set) error {
	if !e.wanted || s.withheld[name] != nil {
		return nil
	}
	if e.actual != nil && e.actual.typ != e.typ {
		// The kernel swaps sets of one type only. That rules still name it is an error for the caller to cure.
		if err := s.destroy(name, e); err != nil {
			return err
		}
	}
	if e.actual != nil && e.actual.maxElements != s.cfg.MaxElements {
		return s.exchange(name, e)
	}
	if e.actual == nil {
		h := s.header(name, e)
		if err := s.kernel.create(h); err != nil {
			return fmt.Errorf("create ip set %s: %w", name, err)
		}
		e.actual = &h
	}
	wanted, _ := e.members.Pending()
	if len(wanted) == 0 {
		return nil
	}
	if err := s.kernel.add(name, wanted); err != nil {
		return fmt.Errorf("add to ip set %s: %w", name, err)
	}
	for _, m := range wanted {
		e.members.Observe(m, struct{}{})
	}
	return nil
}

func (s *Sets) shrink(name string, e *set) error {
	if e.actual == nil {
		return nil
	}
	if !e.wanted || s.withheld[name] != nil {
		return s.destroy(name, e)
	}
	_, unwanted := e.members.Pending()
	if len(unwanted) == 0 {
		return nil
	}
	if err := s.kernel.remove(name, unwanted); err != nil {
		return fmt.Errorf("remove from ip set %s: %w", name, err)
	}
	for _, m := range unwanted {
		e.members.Forget(m)
	}
	return nil
}

// exchange puts a new set with the configured limit in the place of one that rules may name. It keeps
// the members that are to go until Shrink.
func (s *Sets) exchange(name string, e *set) error {
	temporary := temporaryPrefix(s.cfg.Family) + "new"
	members := maps.Clone(e.members.AllActual())
	maps.Copy(members, e.members.AllDesired())
	h := s.header(temporary, e)
	h.elements = len(members)
	if err := s.kernel.create(h); err != nil {
		return fmt.Errorf("create ip set %s in place of %s: %w", temporary, name, err)
	}
	err := s.kernel.add(temporary, slices.Collect(maps.Keys(members)))
	if err == nil {
		err = s.kernel.swap(temporary, name)
	}
	if err != nil {
		err = fmt.Errorf("put ip set %s in the place of %s: %w", temporary, name, err)
	} else {
		h.name = name
		e.actual = &h
		e.members.Load(members)
	}
	if e := s.kernel.destroy(temporary); e != nil {
		err = errors.Join(err, fmt.Errorf("destroy ip set %s: %w", temporary, e))
	}
	return err
}

func (s *Sets) destroy(name string, e *set) error {
	if err := s.kernel.destroy(name); err != nil {
		return fmt.Errorf("destroy ip set %s: %w", name, err)
	}
	e.actual = nil
	e.members.Load(map[Member]struct{}{})
	return nil
}

func (s *Sets) header(name string, e *set) header {
	return header{
		name: name, typ: e.typ, family: s.cfg.Family,
		maxElements: s.cfg.MaxElements, elements: len(e.members.AllDesired()),
	}
}
