// Package dataplane says what every driver of the kernel has in common. The drivers live
// in the packages below it, one for each kind of kernel state.
//
// A driver records the desired state cheaply (by Set and Replace methods of its own type), and
// its Apply makes the kernel match: what it made and is no longer desired goes, what is right
// is left untouched, what is foreign is never touched. A driver knows nothing of policy or Kubernetes,
// does not log, and is used by one goroutine, the agent's, which owns all drivers.
package dataplane

import "context"

// Driver is one part of the kernel's state.
type Driver interface {
	// Name for messages and metrics, for example "route".
	Name() string
	// Apply makes the kernel match the desired state with the least number of changes and returns what it
	// could not do, joined; what failed is tried again by the next Apply.
	Apply(ctx context.Context) error
	// Resync makes the next Apply read the kernel's state back before it compares.
	Resync()
}

// Family is an IP family.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)
