package linux

import (
	"errors"
	"maps"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/policy"
)

// result is a boundary.Result that is being made.
type result struct{ boundary.Result }

// fail adds the errors that err joins, each as a Failure. It does nothing if err is nil.
func (r *result) fail(kind boundary.Kind, family dataplane.Family, err error) {
	if err == nil {
		return
	}
	if failed, ok := errors.AsType[*ipset.FailedError](err); ok {
		r.failSets(family, failed)
		return
	}
	if refused, ok := err.(*iptables.RefusedError); ok {
		err = errors.Join(refused.Errs...)
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			r.fail(kind, family, err)
		}
		return
	}
	r.Failures = append(r.Failures, boundary.Failure{Kind: kind, Family: family, Err: err})
}

// failSets adds a Failure for each reason. Many sets may have failed for one.
func (r *result) failSets(family dataplane.Family, failed *ipset.FailedError) {
	byReason := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(failed.Sets)) {
		err := failed.Sets[name]
		if i, known := byReason[err.Error()]; known {
			r.Failures[i].Name = ""
			continue
		}
		byReason[err.Error()] = len(r.Failures)
		r.Failures = append(r.Failures, boundary.Failure{Kind: boundary.KindSet, Family: family, Name: name, Err: err})
	}
}

// enforces reports whether the rules stand, be it that some chains deny because the kernel refused them.
func enforces(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err == nil
	}
	return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool {
		_, refused := errors.AsType[*iptables.RefusedError](err)
		return !refused && !enforces(err)
	})
}

// learnBroken records which sets are not whole, and reports whether that changed. Policies that name one of them deny, and
// hold up nothing else.
func (f *family) learnBroken(err error, sets map[string]int) (changed bool) {
	failed, known := errors.AsType[*ipset.FailedError](err)
	if err != nil && !known {
		return false // what was broken may be so still
	}
	broken := map[string]bool{}
	if known {
		for id := range sets {
			if failed.Sets[ipset.SetName(f.Family, id)] != nil {
				broken[id] = true
			}
		}
	}
	if maps.Equal(f.broken, broken) {
		return false
	}
	f.broken = broken
	return true
}

// denies reports whether an error is about sets of policies alone, which then deny.
func (f *family) denies(err error) bool {
	failed, known := errors.AsType[*ipset.FailedError](err)
	if !known {
		return false
	}
	ids := []string{policy.SetAllPools, policy.SetMasqPools, policy.SetAllHosts, policy.SetThisHost}
	for _, guard := range guards {
		ids = append(ids, guard.Nodes)
	}
	for _, id := range ids {
		if failed.Sets[ipset.SetName(f.Family, id)] != nil {
			return false
		}
	}
	return true
}
