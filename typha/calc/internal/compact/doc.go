// Package compact has collections that take little memory: of each there are many, and nearly all have few values.
//
// Table finds values by keys that they hold themselves. Set and Pointers hold values in no order. Networks packs
// networks into one string.
//
// The package is pure, and knows nothing of what it holds. Its types are not safe for use by several goroutines. The
// packages of typha/calc use it.
package compact
