package balance

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// errUnlisted is why a node ends a stream from a replica that is not ready any more.
var errUnlisted = errors.New("the replica has not been ready for some time, and others are")

const (
	// A node leaves a replica that is not ready any more after unlistedFor to twice that, so that not all nodes leave
	// at once. A replica that ends has handed most of its nodes over by then.
	unlistedFor = 3 * time.Minute
	// lastUnlisted is the longest such time for a node that finds no other replica. The time doubles with each attempt.
	lastUnlisted = 15 * time.Minute
	// unservedFor is used instead of unlistedFor for a replica that has not begun to serve the node, which the node
	// chose when no replica was ready.
	unservedFor = 10 * time.Second
)

// leaving decides when a node leaves a replica that is not ready any more. It remembers the replica that the node left
// last: that one may still serve, and the node goes back to it if it reaches no other. It is safe for concurrent use.
type leaving struct {
	replicas Replicas

	mu   sync.Mutex
	left string
	wait time.Duration // before the node leaves the next time
}

// addresses returns the replicas, and after them the one that the node left.
func (l *leaving) addresses() ([]string, error) {
	addresses, err := l.replicas.Addresses()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == "" || slices.Contains(addresses, l.left) {
		return addresses, err
	}
	return append(addresses, l.left), nil
}

// replaced reports whether a replica is not ready and others are. Where none is ready, or the replicas are not known,
// nodes stay where they are.
func (l *leaving) replaced(address string) bool {
	addresses, err := l.replicas.Addresses()
	return err == nil && len(addresses) > 0 && !slices.Contains(addresses, address)
}

// timeToLeave returns for how long a replica has to be replaced before the node leaves it.
func (l *leaving) timeToLeave(address string, serves bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left != address {
		l.wait = unlistedFor
	}
	if !serves {
		return unservedFor + rand.N(unservedFor)
	}
	return l.wait + rand.N(l.wait)
}

// leave notes that the node leaves a replica.
func (l *leaving) leave(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = address
	if l.wait < lastUnlisted {
		l.wait = min(2*l.wait, lastUnlisted)
	}
}

// arrived notes that a replica has served the node for some time, so that it needs not go back to the one it left.
func (l *leaving) arrived(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left != address {
		l.left = ""
	}
}

func (l *leaving) watch(ctx context.Context, address string, served <-chan struct{}, end context.CancelCauseFunc) {
	arrived := time.NewTimer(unlistedFor)
	defer arrived.Stop()
	serves := false
	var due <-chan time.Time // nil while the replica is not replaced
	for {
		changed := l.replicas.Changed()
		if !l.replaced(address) {
			due = nil
		} else if due == nil {
			due = time.After(l.timeToLeave(address, serves))
		}
		select {
		case <-changed:
		case <-served:
			served, serves, due = nil, true, nil
		case <-arrived.C:
			l.arrived(address)
		case <-due:
			l.leave(address)
			end(errUnlisted)
			return
		case <-ctx.Done():
			return
		}
	}
}
