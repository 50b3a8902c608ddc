package balance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Replicas are the Typhas that a node may connect to. discovery.Watcher implements it.
type Replicas interface {
	// Addresses returns them as host:port in the order in which to try them.
	Addresses() ([]string, error)
	// Changed returns a channel that is closed when Addresses would return something else. It may be nil.
	Changed() <-chan struct{}
}

// Fixed is a single Typha, as host:port.
type Fixed string

// Addresses implements Replicas.
func (f Fixed) Addresses() ([]string, error) { return []string{string(f)}, nil }

// Changed implements Replicas.
func (f Fixed) Changed() <-chan struct{} { return nil }

// After a round, in which every replica was tried, a node waits before the next one. That time doubles from
// FirstBackoff to LastBackoff. Within a round, and when the replicas change, it waits up to Spread, so that not all
// nodes connect at the same time.
const (
	FirstBackoff = 100 * time.Millisecond
	LastBackoff  = 5 * time.Second
	Spread       = 200 * time.Millisecond
)

// longStream is how long a stream lasts after which all replicas may be tried again. A node whose stream ends sooner
// goes on to replicas that it has not tried. Otherwise two replicas that are listed first and have too many nodes would
// hand it over to each other again and again.
const longStream = 10 * time.Minute

// Chooser chooses the replica that a node connects to next. Its methods are for one goroutine, except Watch and
// Addresses, which any goroutine may call.
type Chooser struct {
	leaving leaving
	tried   map[string]bool // in this round; the replica that ended the last stream is the last one of the next round
	backoff time.Duration
}

// NewChooser returns a Chooser for these replicas.
func NewChooser(replicas Replicas) *Chooser {
	return &Chooser{leaving: leaving{replicas: replicas}, tried: map[string]bool{}, backoff: FirstBackoff}
}

// Addresses returns the replicas in the order in which the node tries them.
func (c *Chooser) Addresses() ([]string, error) { return c.leaving.addresses() }

// errAllTried is returned by Next when there is no replica left in this round.
var errAllTried = errors.New("every replica has been tried")

// Next returns the first replica that was not tried in this round.
func (c *Chooser) Next() (string, error) {
	addresses, err := c.Addresses()
	if err != nil {
		return "", fmt.Errorf("find typha: %w", err)
	}
	for _, address := range addresses {
		if !c.tried[address] {
			return address, nil
		}
	}
	return "", errAllTried
}

// Ended notes that a stream from a replica has ended, how long it lasted, and whether the node was served.
func (c *Chooser) Ended(address string, lasted time.Duration, served bool) {
	if served {
		c.backoff = FirstBackoff
		if lasted > longStream {
			clear(c.tried)
		}
	}
	c.tried[address] = true
}

// Pause is a wait before the next attempt.
type Pause struct {
	For     time.Duration
	changed <-chan struct{} // of the Replicas
}

// Pause returns the wait before the next attempt. last is the replica that was tried last; empty if there was none.
func (c *Chooser) Pause(last string) Pause {
	p := Pause{For: rand.N(Spread), changed: c.leaving.replicas.Changed()}
	over := c.roundOver(last)
	if over {
		p.For = c.backoff/2 + rand.N(c.backoff)
		c.backoff = min(2*c.backoff, LastBackoff)
	}
	return p
}

// roundOver reports whether every replica has been tried. If so, it begins the next round, with the last replica at the
// end of it.
func (c *Chooser) roundOver(last string) bool {
	if _, err := c.Next(); err == nil {
		return false
	}
	clear(c.tried)
	c.tried[last] = true
	if _, err := c.Next(); err != nil {
		clear(c.tried)
	}
	return true
}

// Wait waits until the pause is over, the replicas have changed, or ctx ends.
func (c *Chooser) Wait(ctx context.Context, p Pause) {
	changed := sleep(ctx, p.For, p.changed)
	if changed {
		c.backoff = FirstBackoff
		sleep(ctx, rand.N(Spread), nil)
	}
}

// sleep waits, and reports whether a change ended the wait.
func sleep(ctx context.Context, wait time.Duration, changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	case <-time.After(wait):
	case <-ctx.Done():
	}
	return false
}

// Watch calls end, once at most, when the node is to leave a replica because it has not been ready for some time and
// others are. It returns then, or when ctx ends. served is closed when the replica begins to serve the node.
func (c *Chooser) Watch(ctx context.Context, address string, served <-chan struct{}, end context.CancelCauseFunc) {
	c.leaving.watch(ctx, address, served, end)
}
