// Package sets computes the members of IP sets.
//
// A set contains, as its spec.Set says, the networks of the items that a selector selects, or those of their named
// ports that have a name, or the endpoints of a Service. A set does not hold its members: they follow from the index,
// or from the Service. What happens to them between two calls of Flush is counted, so that a change costs the same in a
// set of ten members as in one of a million. A member that two items contribute stays until neither does.
//
// Sets follows a labelindex.Index as its Observer. EndpointSlices come by SetSlice. The package knows neither policies
// nor nodes: who needs a set acquires it. Flush returns new sets whole and the others as deltas.
//
// The package is pure: no I/O, no clock, no goroutine, no logger. The goroutine that owns the calc.Engine calls it;
// Steps alone may be called from other goroutines.
package sets
