package ipset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
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

// Order says when, with respect to the rules, a set gets its new members and loses its former ones.
type Order uint8

// The orders.
const (
	AddFirst    Order = iota // members come before the rules change, and go after that
	RemoveFirst              // members go before the rules change, and come after that
	AllFirst                 // no rule names the set yet
)

// Apply is Before and After for somebody who has no rules.
func (s *Sets) Apply(ctx context.Context) error {
	return errors.Join(s.Before(ctx, func(string) Order { return AllFirst }), s.After(ctx, every))
}

// Before creates the sets that are missing, and does the part of the changes of members that comes before the rules
// change. What it could not do of single sets is a *FailedError.
func (s *Sets) Before(ctx context.Context, order func(name string) Order) error {
	err := s.each(ctx, func(name string, e *set) error { return s.before(name, e, order(name)) })
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

// After does the rest for the sets whose names may accepts: what Before left of members, and the removal of sets that
// no rule names any more. What it could not do of single sets is a *FailedError.
func (s *Sets) After(ctx context.Context, may func(name string) bool) error {
	return s.each(ctx, func(name string, e *set) error {
		if !may(name) {
			return nil
		}
		return s.after(name, e)
	})
}

// every accepts all sets.
func every(string) bool { return true }

// each does one phase for every dirty set, in the order of their names.
func (s *Sets) each(ctx context.Context, phase func(string, *set) error) error {
	if err := s.Load(); err != nil {
		return err
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

func (s *Sets) before(name string, e *set, order Order) error {
	if !e.wanted || s.withheld[name] != nil {
		return nil
	}
	if e.actual != nil && e.actual.Type != e.typ {
		// The kernel swaps sets of one type only. That rules still name it is an error for the caller to cure.
		if err := s.destroy(name, e); err != nil {
			return err
		}
	}
	if e.actual != nil && e.actual.MaxElements != s.cfg.MaxElements {
		if err := s.exchange(name, e); err != nil {
			return err
		}
	}
	if e.actual == nil {
		h := s.header(name, e)
		if err := s.kernel.Create(h); err != nil {
			return fmt.Errorf("create ip set %s: %w", name, err)
		}
		e.actual = &h
	}
	if order != AddFirst {
		if err := s.remove(name, e); err != nil {
			return err
		}
	}
	if order != RemoveFirst {
		return s.add(name, e)
	}
	return nil
}

func (s *Sets) after(name string, e *set) error {
	switch {
	case e.actual == nil || s.keep && !e.wanted:
		return nil
	case !e.wanted || s.withheld[name] != nil:
		return s.destroy(name, e)
	}
	if err := s.remove(name, e); err != nil {
		return err
	}
	return s.add(name, e)
}

func (s *Sets) add(name string, e *set) error {
	wanted, _ := e.members.Pending()
	if len(wanted) == 0 {
		return nil
	}
	if err := s.kernel.Add(name, wanted); err != nil {
		return fmt.Errorf("add to ip set %s: %w", name, err)
	}
	for _, m := range wanted {
		e.members.Observe(m, struct{}{})
	}
	return nil
}

func (s *Sets) remove(name string, e *set) error {
	_, unwanted := e.members.Pending()
	if len(unwanted) == 0 || s.keep {
		return nil
	}
	if err := s.kernel.Remove(name, unwanted); err != nil {
		return fmt.Errorf("remove from ip set %s: %w", name, err)
	}
	for _, m := range unwanted {
		e.members.Forget(m)
	}
	return nil
}

// exchange puts a new set with the configured limit and the same members in the place of one that rules may name.
func (s *Sets) exchange(name string, e *set) error {
	temporary := temporaryPrefix(s.cfg.Family) + "new"
	members := e.members.AllActual()
	h := s.header(temporary, e)
	h.Elements = len(members)
	if err := s.kernel.Create(h); err != nil {
		return fmt.Errorf("create ip set %s in place of %s: %w", temporary, name, err)
	}
	err := s.kernel.Add(temporary, slices.Collect(maps.Keys(members)))
	if err == nil {
		err = s.kernel.Swap(temporary, name)
	}
	if err != nil {
		err = fmt.Errorf("put ip set %s in the place of %s: %w", temporary, name, err)
	} else {
		h.Name = name
		e.actual = &h
	}
	if e := s.kernel.Destroy(temporary); e != nil {
		err = errors.Join(err, fmt.Errorf("destroy ip set %s: %w", temporary, e))
	}
	return err
}

func (s *Sets) destroy(name string, e *set) error {
	if err := s.kernel.Destroy(name); err != nil {
		return fmt.Errorf("destroy ip set %s: %w", name, err)
	}
	e.actual = nil
	e.members.Load(map[filter.Member]struct{}{})
	return nil
}

func (s *Sets) header(name string, e *set) Header {
	return Header{
		Name: name, Type: e.typ, Family: s.cfg.Family,
		MaxElements: s.cfg.MaxElements, Elements: len(e.members.AllDesired()),
	}
}
