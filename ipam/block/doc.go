// Package block holds the operations on one IPAMBlock, in Calico's format: assigning and releasing its addresses, the
// rest of released addresses, and the node that the block belongs to. Space chooses where in a pool a new block may be.
//
// The package is pure: it does no I/O and has no clock. Every operation changes a Block in memory. Package ipam reads
// and writes blocks and decides which one to use. A Block is used by one goroutine at a time.
package block
