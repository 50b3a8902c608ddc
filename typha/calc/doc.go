// Package calc computes, from the cluster's resources, what every node needs.
//
// An Engine takes resources in any order and gives, on Flush, the wire objects that changed and
// which node needs which of them. It is pure: no I/O, no clock, no goroutine, no logger. The
// same resources give the same objects, whatever the order, repetition or grouping
// of the calls was. One goroutine owns an Engine; in Maneki that is hub.Hub's.
//
// How it fits together:
//
//	pods, workload and host endpoints, network sets, nodes ─► items
//	items, which inherit labels from profiles ─► labelindex: groups of items ◄─► selectors ─► sets: IP sets
//	                                                                                 └─► policies (compile), in tiers ─► policy lists
//	items, policy lists ─► endpoints, and which nodes need what (needs)
//	IPAM blocks ─► who owns an address ─► items, and routes
//	nodes ─► hosts, tunnel endpoints;  pools;  BGP peers resolved by node;  Felix configuration
//
// Upsert and Delete only record; Flush decides. An update costs what it changes: a group of items is matched against
// the selectors that its labels can match, and a set changes by members. What is large exists once: items that look the
// same to selectors share a group, the labels that they inherit are stored with the profile, the policies that apply to
// groups of the same selectors are one policy list, and what nodes need is known by selector. docs/design/engine.md
// says more.
// A resource that cannot be used affects only itself. An unusable rule that allows matches nothing. An unusable rule
// that denies or passes denies everything that it may have meant. A policy whose subject cannot be read isolates
// everything that it may have meant. An IPPool whose CIDR cannot be read is the one exception: nodes keep its last
// version that could be read, because without it they would lose the routes to its pods.
package calc
