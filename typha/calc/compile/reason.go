package compile

import "k8s.io/apimachinery/pkg/util/validation/field"

// MaxErrors is how many errors of one object are collected, and maxReported how many of them are reported. An object of
// a legal size can have hundreds of thousands, and each replica and observer holds the reports.
const (
	MaxErrors   = 100
	maxReported = 10
)

// Reason returns the errors of one object as a text, or the empty string if there are none.
func Reason(errs field.ErrorList) string {
	err := errs[:min(len(errs), maxReported)].ToAggregate()
	switch {
	case err == nil:
		return ""
	case len(errs) > maxReported:
		return err.Error() + "; and more"
	}
	return err.Error()
}
