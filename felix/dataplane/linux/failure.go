package linux

import (
	"errors"

	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// result is a boundary.Result that is being made.
type result struct{ boundary.Result }

// fail adds the errors that err joins. It does nothing if err is nil.
func (r *result) fail(err error) { r.Failures = append(r.Failures, flatten(err)...) }

// failFilter adds a failure for each chain and each table that is not as desired, and for each reason why sets are not.
// Many sets may have failed for one reason.
func (r *result) failFilter(err error) {
	reasons := map[string]bool{}
	for _, err := range flatten(err) {
		failed, is := errors.AsType[*filter.Error](err)
		if !is || failed.Set == "" {
			r.Failures = append(r.Failures, err)
			continue
		}
		reason := failed.Err.Error()
		if !reasons[reason] {
			reasons[reason] = true
			r.Failures = append(r.Failures, failed.Err)
		}
	}
}

// flatten returns the errors that an error joins, or itself.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// countFiltered counts that a backend could not program rules, or sets.
func (d *Dataplane) countFiltered(backend string, err error) {
	var rules, sets bool
	for _, err := range flatten(err) {
		failed, is := errors.AsType[*filter.Error](err)
		sets = sets || is && failed.Set != ""
		rules = rules || !is || failed.Set == ""
	}
	if rules {
		d.failed(backend)
	}
	if sets {
		d.failed("ipset")
	}
}
