package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// errUnlisted ends a stream from a replica that is not ready any more.
var errUnlisted = errors.New("the replica has not been ready for some time, and others are")

const (
	// A node leaves a replica that is not ready any more after unlistedFor to twice that, so that not all nodes go at
	// once. One that ends has handed most of them over by then.
	unlistedFor = 3 * time.Minute
	// lastUnlisted is the most that this becomes for a node which finds no other replica; it doubles each time.
	lastUnlisted = 15 * time.Minute
	// unservedFor is unlistedFor for a replica that has yet to begin to serve the node: while none was ready, any was
	// as good.
	unservedFor = 10 * time.Second
)

// leaving are Replicas with the one that the node left because it was not ready: that may serve, and is better than
// none.
type leaving struct {
	Replicas

	mu   sync.Mutex
	left string
	wait time.Duration // of the next time
}

// Addresses implements Replicas.
func (l *leaving) Addresses() ([]string, error) {
	addresses, err := l.Replicas.Addresses()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == "" || slices.Contains(addresses, l.left) {
		return addresses, err
	}
	return append(addresses, l.left), nil
}

// replaced reports whether a replica is not ready any more, and others are. One that is not known to be replaced is not
// left: where none is ready, or the API server cannot be asked, nodes stay where they are.
func (l *leaving) replaced(address string) bool {
	addresses, err := l.Replicas.Addresses()
	return err == nil && len(addresses) > 0 && !slices.Contains(addresses, address)
}

// patience is for how long a replica may not be ready before the node leaves it. serves says whether it has begun to
// serve the node.
func (l *leaving) patience(address string, serves bool) time.Duration {
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

func (l *leaving) leave(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left = address; l.wait < lastUnlisted {
		l.wait = min(2*l.wait, lastUnlisted)
	}
}

// arrived notes that a replica serves the node for good.
func (l *leaving) arrived(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left != address {
		l.left = ""
	}
}

// watch ends the stream from a replica if that is replaced for long, until ctx ends. served is closed when it begins to
// serve.
func (l *leaving) watch(ctx context.Context, address string, served <-chan struct{}, end context.CancelCauseFunc) {
	arrived := time.NewTimer(unlistedFor)
	defer arrived.Stop()
	serves := false
	var due <-chan time.Time // while it is replaced
	for {
		changed := l.Changed()
		if !l.replaced(address) {
			due = nil
		} else if due == nil {
			due = time.After(l.patience(address, serves))
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
