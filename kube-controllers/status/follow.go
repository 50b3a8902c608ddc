package status

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/maneki-net/maneki/api/backoff"
	"github.com/maneki-net/maneki/typha/discovery"
	"github.com/maneki-net/maneki/typha/hub"
)

// Replicas are those to follow. discovery.Watcher is one.
type Replicas interface {
	// Run keeps the rest up to date until ctx ends.
	Run(ctx context.Context) error
	// Endpoints gives the addresses of those that are ready, and whether the cluster has said so.
	Endpoints() (endpoints []discovery.Endpoint, known bool)
	// Changed gives a channel that is closed when Endpoints would say something else.
	Changed() <-chan struct{}
}

// Observe follows one replica, as transport.Observe does.
type Observe func(ctx context.Context, address string, each func(hub.Observed)) error

// The waits before a replica is asked again double from the first to the last.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// follower puts what the replicas say into the picture, each on a goroutine of its own.
type follower struct {
	replicas Replicas
	observe  Observe
	picture  *picture
	say      func(context.Context, change)
	log      *slog.Logger

	mu        sync.Mutex
	addresses map[string][]string // of the replicas that are ready, by name
	followed  map[string]bool     // those that have a goroutine
}

// run follows those that are ready until ctx ends. One that is ready no longer, because it hands its nodes over, say,
// is followed until it ends the stream.
func (f *follower) run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		changed := f.replicas.Changed()
		if endpoints, known := f.replicas.Endpoints(); known {
			for _, name := range f.list(ctx, endpoints) {
				wait.Go(func() { f.follow(ctx, name) })
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// list takes in which replicas are ready, and gives those that nobody follows yet.
func (f *follower) list(ctx context.Context, endpoints []discovery.Endpoint) (fresh []string) {
	addresses, ready := map[string][]string{}, map[string]bool{}
	for _, e := range endpoints {
		name := cmp.Or(e.Pod, e.Address) // a pod may have an address of each family
		addresses[name], ready[name] = append(addresses[name], e.Address), true
	}
	f.say(ctx, f.picture.list(ready))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addresses = addresses
	for name := range addresses {
		if !f.followed[name] {
			f.followed[name] = true
			fresh = append(fresh, name)
		}
	}
	return fresh
}

// addressesOf returns the addresses of a replica; none ends its goroutine.
func (f *follower) addressesOf(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.addresses[name]) == 0 {
		delete(f.followed, name)
	}
	return f.addresses[name]
}

func (f *follower) follow(ctx context.Context, name string) {
	retries, complaint := backoff.Backoff{First: firstBackoff, Last: lastBackoff}, ""
	for attempt := 0; ; attempt++ {
		addresses := f.addressesOf(name)
		if len(addresses) == 0 {
			return
		}
		address := addresses[attempt%len(addresses)]
		err := f.observe(ctx, address, func(o hub.Observed) {
			if o.Whole {
				retries.Reset()
				complaint = ""
				f.log.Info("observing typha", "replica", name, "address", address, "nodes", len(o.Nodes), "unusable",
					len(o.Problems))
			}
			f.say(ctx, f.picture.take(name, o))
		})
		if ctx.Err() != nil {
			return
		}
		f.say(ctx, f.picture.lose(name))
		if err != nil && err.Error() != complaint {
			complaint = err.Error()
			f.log.Info("typha not observed, retrying", "replica", name, "address", address, "error", err)
		}
		select {
		case <-time.After(retries.Spread()):
		case <-ctx.Done():
			return
		}
	}
}
