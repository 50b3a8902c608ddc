package iptables

import "sync/atomic"

// Counts say what a Table has done and what it has, for metrics. They may be read from any goroutine.
type Counts struct {
	Saves, SaveErrors       atomic.Uint64 // commands that read the table, and those of them that failed
	Restores, RestoreErrors atomic.Uint64 // commands that changed the table, and those of them that failed
	Lines                   atomic.Uint64 // changes of chains and rules that succeeded
	Chains, Rules           atomic.Int64  // of ours in the kernel, as of the last Apply
}

// Counts returns the Table's counts.
func (t *Table) Counts() *Counts { return &t.counts }

// recount counts our chains, and our rules in them and in the kernel's chains.
func (t *Table) recount() {
	rules := 0
	for _, lines := range t.chains.AllActual() {
		rules += len(lines)
	}
	for _, lines := range t.foreign {
		rules += len(ours(lines))
	}
	t.counts.Chains.Store(int64(len(t.chains.AllActual())))
	t.counts.Rules.Store(int64(rules))
}
