// Package needs knows which node needs which policies, sets and other objects.
//
// A node needs a policy if it has a member of the policy's Group: an endpoint that the policy's selector selects, or
// that has a profile. Nodes are counted for each group, not for each policy, so that moving an endpoint costs the same
// however many policies apply to it. A node that needs a policy needs the sets that the policy's rules name. Some
// objects belong to one node: its endpoints and what is configured for it.
//
// Input comes by method, and Flush returns what each node needs more and no longer. Nothing is returned twice. What
// came and went between two flushes is not returned.
//
// The package is pure: no I/O, no clock, no goroutine, no logger. It knows names only, no resources, selectors or
// endpoints. The engine in typha/calc calls it, on the goroutine that owns the engine.
package needs
