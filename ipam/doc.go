// Package ipam assigns addresses out of IPPools: blocks with an affinity to a node, from
// which that node serves its pods without asking anybody, in Calico's format.
//
// It owns the IPAMBlock and BlockAffinity resources and is the only writer of both. It is
// a library over a datastore.Store: no daemon, no goroutine that outlives a call, no
// kernel, no knowledge of containers. Every write is a compare-and-swap, so any number of
// clients on any number of nodes may work at once, and one that dies between two writes
// leaves nothing that the next one cannot repair.
//
// The operations on one block are pure (block.go), and so is the choice of a new one
// (space.go); Client adds the I/O. A Client may be used by several goroutines; it carries
// out one operation at a time, and a caller that has several requests gives them in one
// Assign, which costs one write a block. Felix's CNI server and node set-up call it, and
// kube-controllers for garbage collection.
package ipam
