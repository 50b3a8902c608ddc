package iptables

import "sync/atomic"

// Counts say what the commands of a Backend have done, for metrics. They may be read from any goroutine.
type Counts struct {
	Saves, SaveErrors       atomic.Uint64 // commands that read tables, and those of them that failed
	Restores, RestoreErrors atomic.Uint64 // commands that changed tables, and those of them that failed
}

// TableCounts say what was done to one table and what it has. They may be read from any goroutine.
type TableCounts struct {
	Lines         atomic.Uint64 // changes of chains and rules that succeeded
	Chains, Rules atomic.Int64  // of ours in the kernel, as of the last commit
}

// count publishes how many chains and rules there are.
func (t *table) count() {
	t.counts.Chains.Store(int64(len(t.chains.AllActual())))
	t.counts.Rules.Store(int64(t.rules))
}

// recount counts our rules, in our chains and in the kernel's.
func (t *table) recount() {
	t.rules = 0
	for _, lines := range t.chains.AllActual() {
		t.rules += len(lines)
	}
	for _, lines := range t.foreign {
		t.rules += len(ours(lines))
	}
	t.count()
}
