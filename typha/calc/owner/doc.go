// Package owner decides which pod owns an address.
//
// At any time that is at most one pod. If an IPAM block has the address, it is the pod for which the block says that
// the address is allocated; if the address is not allocated, no pod owns it, whatever a status says. If no block has
// the address, it is the newest running pod whose status names it.
//
// A Table takes the claims of pods and the allocations of blocks by method, and returns the changes of owners by value.
// It does not remember who owns an address. The caller, which applies the changes, has that in an index of its own; in
// Maneki the caller is the engine. The package knows no resources, endpoints or sets.
//
// The package is pure: it has no I/O, clock, goroutine or logger. A Table belongs to one goroutine, the engine's.
package owner
