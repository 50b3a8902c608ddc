// Package ipam assigns addresses out of IPPools, in Calico's format: a node owns blocks of a pool and serves its pods
// from them without asking anybody.
//
// It owns the IPAMBlock and BlockAffinity resources and is the only writer of both. It is a library over a
// datastore.Store: it has no daemon, no goroutine that outlives a call, and knows nothing of kernels and containers.
// Every write is a compare-and-swap. So any number of clients on any number of nodes may work at the same time, and a
// client that dies between two writes leaves nothing that the next one cannot repair.
//
// Package block has the operations on one block, which are pure; Client adds the I/O and the choice of blocks. Several
// goroutines may use a Client. It carries out one operation at a time. A caller that has several requests gives them in
// one Assign, which costs one write for each block. Felix's CNI server and its node set-up call it, and
// kube-controllers for garbage collection.
package ipam
