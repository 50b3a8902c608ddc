// Package labelindex knows which selectors select which items.
//
// Items are what selectors can select: pods, workload endpoints, host endpoints, network sets and nodes. The index
// holds them by key, by network and by what selectors see of them. It never knows what a selector is for: IP sets and
// policies follow as Observers.
//
// Items that look the same to every selector are one Group: they have the same kind, namespace, labels, named ports and
// profiles. A selector is evaluated once for a group, however many items it has; the pods of a ReplicaSet are one
// group, mostly. The labels that items inherit from their profiles (namespace, service account) are stored with the
// profile.
//
// A selector is filed under facts that an item must have for it: a label with a value, a label, a namespace. A new or
// changed group is matched against the selectors that are filed under its own facts. A new selector is matched against
// the groups of its namespace, or against all groups.
//
// Methods that change items, labels or selectors only note which groups have to be matched again. Flush matches them. A
// Scan matches selectors in steps of bounded work; Sweep removes selectors that are no longer in use, in bounded steps.
//
// The package is pure: no I/O, no clock, no goroutine, no logger. The goroutine that owns the calc.Engine calls it;
// Steps alone may be called from other goroutines.
package labelindex
