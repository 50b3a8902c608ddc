package cniserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
)

// The intervals between two checks of the leases.
const (
	leaseInterval  = 5 * time.Minute  // when all leases are right
	leaseRetry     = 30 * time.Second // when one is not
	leaseStartWait = time.Second      // while the agent does not know the pools
)

// Leases returns the addresses that pods of this node have or are about to lose, whatever IPAM says. It may be called
// from any goroutine.
func (s *Server) Leases() []block.Lease {
	var leases []block.Lease
	for _, r := range s.records.all() {
		if r.released != nil {
			continue // its interface is gone
		}
		for _, addr := range r.Addrs {
			leases = append(leases, block.Lease{Handle: r.handle(), Addr: addr})
		}
	}
	return leases
}

// watchLeases makes sure that the datastore has the leases of this node's pods: after the start, and at intervals.
func (s *Server) watchLeases(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		interval := leaseStartWait
		if s.opts.State().NotReady == nil {
			done := make(chan struct{})
			select {
			case s.assigner.tasks <- func() { defer close(done); interval = s.reassert(ctx) }:
				<-done
			case <-ctx.Done():
				return nil
			}
		}
		timer.Reset(interval)
	}
}

// reassert writes leases of running pods again that the datastore has lost. It tells the agent about addresses that
// belong to others, and returns the time until its next call. The assigner calls it, so that no release overtakes it.
func (s *Server) reassert(ctx context.Context) time.Duration {
	var requests []ipam.Request
	var owners []record
	for _, r := range s.records.all() {
		if r.State != stateReady || len(r.Addrs) == 0 {
			continue
		}
		if exists, err := s.opts.Links.Exists(r.HostIface); err != nil || !exists {
			continue
		}
		requests = append(requests, ipam.Request{Handle: r.handle(), Addrs: r.Addrs, Attributes: r.attributes()})
		owners = append(owners, r)
	}
	state := s.opts.State()
	interval, conflicts := leaseInterval, []string{}
	var failed error
	host := ipam.Host{Name: s.opts.Node, Labels: state.Labels}
	for i, err := range s.opts.IPAM.Reassert(ctx, host, state.Pools, requests) {
		switch {
		case err == nil:
			continue
		case errors.Is(err, block.ErrInUse), errors.Is(err, ipam.ErrNoAddress), errors.Is(err, ipam.ErrInvalidRequest):
			conflicts = append(conflicts, fmt.Sprintf(
				"pod %s has an address that is not assigned to it, make it anew: %v", owners[i].pod(), err))
		default:
			failed = err
		}
		interval = leaseRetry
	}
	if failed != nil {
		if ctx.Err() == nil {
			s.opts.Log.Warn("leases not looked at, will retry", "error", failed)
		}
		return interval // the conflicts that were last reported stay
	}
	s.opts.Endpoints.Conflicts(conflicts)
	return interval
}
