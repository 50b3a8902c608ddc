// Package backoff says how long to wait before something that failed is tried again. It has no clock: the caller waits.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff is a series of waits that double. It belongs to one goroutine.
type Backoff struct {
	First, Last time.Duration // the shortest and the longest wait
	next        time.Duration // 0 is First
}

// Next returns the wait that is due.
func (b *Backoff) Next() time.Duration {
	wait := max(b.next, b.First)
	b.next = min(2*wait, b.Last)
	return wait
}

// Spread returns the wait that is due, made shorter or longer by up to one half at random, so that many processes that
// failed together do not try again together.
func (b *Backoff) Spread() time.Duration {
	wait := b.Next()
	return wait/2 + rand.N(wait)
}

// Reset makes the next wait the first one.
func (b *Backoff) Reset() { b.next = 0 }
