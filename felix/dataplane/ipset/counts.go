package ipset

import "sync/atomic"

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
	kernel
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

func (c counted) headers() ([]header, error) {
	list, err := c.kernel.headers()
	if err == nil {
		c.counts.All.Store(int64(len(list)))
	}
	return list, c.call(err, 0)
}

func (c counted) members(name string) ([]Member, error) {
	list, err := c.kernel.members(name)
	return list, c.call(err, 0)
}

func (c counted) create(h header) error { return c.exist(c.kernel.create(h), 1) }

func (c counted) destroy(name string) error { return c.exist(c.kernel.destroy(name), -1) }

// exist counts that a set came or went.
func (c counted) exist(err error, n int64) error {
	if err == nil {
		c.counts.Sets.Add(n)
		c.counts.All.Add(n)
	}
	return c.call(err, 1)
}

func (c counted) swap(a, b string) error { return c.call(c.kernel.swap(a, b), 1) }

func (c counted) add(name string, members []Member) error {
	return c.call(c.kernel.add(name, members), len(members))
}

func (c counted) remove(name string, members []Member) error {
	return c.call(c.kernel.remove(name, members), len(members))
}
