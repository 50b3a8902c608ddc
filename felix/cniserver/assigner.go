package cniserver

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/maneki-net/maneki/api/backoff"
	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
)

// Retries of a release that the datastore did not take.
const (
	firstReleaseRetry = time.Second
	maxReleaseRetry   = 30 * time.Second
)

// assigner owns all traffic with IPAM. Whoever waits while one operation is under way is
// served together by the next: the datastore sees one write a block, not one a pod.
type assigner struct {
	ipam    IPAM
	node    string
	log     *slog.Logger
	assigns chan assignment
	tasks   chan func()     // unbuffered; run carries them out
	wake    chan struct{}   // of capacity 1; says that something was added to waiting
	retry   backoff.Backoff // until the next attempt of a failed release; run's alone

	mu      sync.Mutex // guards waiting
	waiting []release  // not done yet, those to be retried included
}

type assignment struct {
	host    ipam.Host
	pools   []ipam.Pool
	request ipam.Request
	answer  chan ipam.Result // of capacity 1, so that nobody waits for who asked
	// abandoned says that nobody waits for the answer: a release may have overtaken the request.
	abandoned func() bool
}

type release struct {
	handle string
	done   func() // called once the handle has no address any more
}

func newAssigner(client IPAM, node string, log *slog.Logger) *assigner {
	return &assigner{ipam: client, node: node, log: log, retry: backoff.Backoff{First: firstReleaseRetry,
		Last: maxReleaseRetry},
		assigns: make(chan assignment, maxConnections), tasks: make(chan func()), wake: make(chan struct{}, 1)}
}

// assign returns the addresses for a request on a host out of pools, which are the handle's until they are released
// even when ctx ends before they are known.
func (a *assigner) assign(ctx context.Context, wanted assignment) ([]block.Lease, error) {
	wanted.answer = make(chan ipam.Result, 1)
	wanted.abandoned = func() bool { return ctx.Err() != nil }
	select {
	case a.assigns <- wanted:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case result := <-wanted.answer:
		return result.Leases, assignError(result.Err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func assignError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ipam.ErrNoAddress), errors.Is(err, block.ErrInUse):
		return &protocol.Error{Code: protocol.CodeNoAddress, Msg: "assign address: " + err.Error()}
	case errors.Is(err, ipam.ErrInvalidRequest):
		return &protocol.Error{Code: protocol.CodeInvalidConfig, Msg: "assign address: " + err.Error()}
	}
	return &protocol.Error{Code: protocol.CodeTryAgain, Msg: "assign address: " + err.Error()}
}

// release queues the release of a handle's addresses, which is retried until it succeeds. It does
// not wait.
func (a *assigner) release(handle string, done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = append(a.waiting, release{handle, done})
	select {
	case a.wake <- struct{}{}:
	default: // run has yet to hear of an earlier one
	}
}

// run serves until ctx ends.
func (a *assigner) run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		var assigns []assignment
		select {
		case <-ctx.Done():
			return nil
		case wanted := <-a.assigns:
			assigns = append(assigns, wanted)
		case task := <-a.tasks:
			task()
		case <-a.wake:
		case <-retry.C:
		}
		assigns = append(assigns, drain(a.assigns)...)
		// Releases first: what they free may be what the others wait for.
		if !a.releaseWaiting(ctx) {
			retry.Reset(a.retry.Next())
		}
		a.assignAll(ctx, assigns)
	}
}

func drain(c <-chan assignment) []assignment {
	var taken []assignment
	for {
		select {
		case wanted := <-c:
			taken = append(taken, wanted)
		default:
			return taken
		}
	}
}

func (a *assigner) releaseWaiting(ctx context.Context) bool {
	a.mu.Lock()
	gone := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	if len(gone) == 0 {
		return true
	}
	handles := make([]string, len(gone))
	for i := range gone {
		handles[i] = gone[i].handle
	}
	if _, err := a.ipam.Release(ctx, a.node, handles...); err != nil {
		if ctx.Err() == nil {
			a.log.Warn("addresses not released, will retry", "handles", len(handles), "error", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.waiting = append(gone, a.waiting...)
		return false
	}
	for i := range gone {
		gone[i].done()
	}
	a.retry.Reset()
	return true
}

func (a *assigner) assignAll(ctx context.Context, assigns []assignment) {
	assigns = slices.DeleteFunc(assigns, func(wanted assignment) bool { return wanted.abandoned() })
	if len(assigns) == 0 {
		return
	}
	requests := make([]ipam.Request, len(assigns))
	for i, wanted := range assigns {
		requests[i] = wanted.request
	}
	newest := assigns[len(assigns)-1] // all are for this node: who asked last knows it best
	results := a.ipam.Assign(ctx, newest.host, newest.pools, requests)
	for i, wanted := range assigns {
		wanted.answer <- results[i]
	}
}
