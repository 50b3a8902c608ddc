// Package calc computes, from the cluster's resources, what every node needs.
//
// An Engine takes resources in any order and gives, on Flush, the wire objects that changed and
// which node needs which of them. It is pure: no I/O, no clock, no goroutine, no logger. The
// same resources give the same objects, whatever the order, repetition or grouping
// of the calls was. One goroutine owns an Engine; in Maneki that is stream.Hub's.
//
// How it fits together:
//
//	pods, namespaces ─► index ─► selector ─► members ─► IP sets
//	                                 └─► policies that select ─► endpoints, and the nodes that need them
//	IPAM blocks ─► who owns an address ─┘, and routes
//	nodes ─► hosts, VTEPs;  pools;  BGP peers resolved by node;  Felix configuration
//
// An update costs what it changes: a pod visits the selectors that its labels can match, a selector
// the pods of the namespaces it can match, and an IP set is made again when a member changed.
//
// A resource that cannot be used hurts only itself, and is judged from its own content: a peer
// that cannot be read matches nothing, a policy whose subject cannot be read isolates what it may
// have meant.
package calc
