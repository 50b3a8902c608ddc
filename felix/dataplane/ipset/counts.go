package ipset

import (
	"sync/atomic"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// Counts say what a Sets has done and what the kernel has, for metrics. They may be read from any goroutine.
type Counts struct {
	Calls, Errors atomic.Uint64 // requests to the kernel, and those of them that failed
	Lines         atomic.Uint64 // sets created, exchanged and destroyed, and members added and removed
	Sets          atomic.Int64  // of ours
	All           atomic.Int64  // of everybody and of every family
}

// Counts returns the counts.
func (s *Sets) Counts() *Counts { return s.counts }

// counted counts what is asked of the kernel.
type counted struct {
	Kernel
	counts *Counts
}

func (c counted) call(err error, lines int) error {
	c.counts.Calls.Add(1)
	if err != nil {
		c.counts.Errors.Add(1)
		return err
	}
	c.counts.Lines.Add(uint64(lines))
	return nil
}

func (c counted) Headers() ([]Header, error) {
	list, err := c.Kernel.Headers()
	if err == nil {
		c.counts.All.Store(int64(len(list)))
	}
	return list, c.call(err, 0)
}

func (c counted) Members(name string) ([]filter.Member, error) {
	list, err := c.Kernel.Members(name)
	return list, c.call(err, 0)
}

func (c counted) Create(h Header) error { return c.exist(c.Kernel.Create(h), 1) }

func (c counted) Destroy(name string) error { return c.exist(c.Kernel.Destroy(name), -1) }

// exist counts that a set came or went.
func (c counted) exist(err error, n int64) error {
	if err == nil {
		c.counts.Sets.Add(n)
		c.counts.All.Add(n)
	}
	return c.call(err, 1)
}

func (c counted) Swap(a, b string) error { return c.call(c.Kernel.Swap(a, b), 1) }

func (c counted) Add(name string, members []filter.Member) error {
	return c.call(c.Kernel.Add(name, members), len(members))
}

func (c counted) Remove(name string, members []filter.Member) error {
	return c.call(c.Kernel.Remove(name, members), len(members))
}
