package cniserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maneki-net/maneki/ipam"
)

// How long to wait until the leases are looked at again: when all are right, when one is not, and while the
// agent cannot say which pools there are.
const (
	leaseInterval  = 5 * time.Minute
	leaseRetry     = 30 * time.Second
	leaseStartWait = time.Second
)

// Leases are the addresses that pods of this node have, or are about to lose, whatever IPAM says. It may be called from
// any goroutine.
func (s *Server) Leases() []ipam.Lease {
	var leases []ipam.Lease
	for _, r := range s.records.all() {
		if r.released != nil {
			continue // its interface is gone
		}
		for _, addr := range r.Addrs {
			leases = append(leases, ipam.Lease{Handle: r.handle(), Addr: addr})
		}
	}
	return leases
}

// watchLeases keeps what the pods of this node live by in the datastore: after the start, and from time to time.
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

// reassert writes again what the datastore has lost of the leases of the pods that run, tells the agent which of them
// are others', and gives the time until it is to be called again. The assigner calls it, so that no release overtakes it.
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
		case errors.Is(err, ipam.ErrInUse), errors.Is(err, ipam.ErrNoAddress), errors.Is(err, ipam.ErrInvalidRequest):
			conflicts = append(conflicts, fmt.Sprintf("pod %s has an address that is not assigned to it, make it anew: %v",
				owners[i].pod(), err))
		default:
			failed = err
		}
		interval = leaseRetry
	}
	if failed != nil {
		if ctx.Err() == nil {
			s.opts.Log.Warn("leases not looked at, will retry", "error", failed)
		}
		return interval // what was said last stands
	}
	s.opts.Endpoints.Conflicts(conflicts)
	return interval
}
