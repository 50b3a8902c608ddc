package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/maneki-net/maneki/bgp"
)

const (
	// refreshDelay gathers the session changes of a moment, many when a mesh comes up, into one reading.
	refreshDelay = 50 * time.Millisecond
	// retryDelay is how long after a configuration that failed it is tried again.
	retryDelay = 5 * time.Second
	// settleTime is how long the peers must have been the same before all of them can be known, because a
	// configuration may grow in steps while its sources are being read.
	settleTime = 3 * time.Second
)

// run is the state of one Run, on its goroutine.
type run struct {
	*Speaker
	server *embedded
	config bgp.Config
	// peersSince is when config got its present peers.
	peersSince time.Time
	started    time.Time
	configured time.Time // when config came
	// wake receives when sessions may have changed; depth 1, written by the watch.
	wake  chan struct{}
	since map[netip.Addr]observed
	// excesses are the peers that have exceeded a limit, messages the counts of peers' messages (limit.go).
	excesses map[netip.Addr]excess
	messages map[netip.Addr]received
	// synced, once true, stays so until the process ends.
	synced bool
	failed error
	// The timers are off until they are needed: retry applies config, reading reads the sessions
	// after a change of them, revisit without one, deferral ends the wait for End-of-RIBs.
	retry, reading, revisit, deferring *time.Timer
}

// observed is a session's state and when it was first seen.
type observed struct {
	state bgp.State
	since time.Time
}

// watch makes the server's events fill the RIB and wake the loop.
func (r *run) watch(ctx context.Context) error {
	request := &api.WatchEventRequest{
		Peer: &api.WatchEventRequest_Peer{},
		Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{
			{Type: api.WatchEventRequest_Table_Filter_BEST},
			{Type: api.WatchEventRequest_Table_Filter_EOR},
		}},
	}
	return r.server.bgp.WatchEvent(ctx, request, func(event *api.WatchEventResponse) {
		if table := event.GetTable(); table != nil {
			r.rib.update(table.Paths)
			notify(r.changes)
		}
		if state := event.GetPeer().GetPeer().GetState(); state != nil {
			if addr, err := netip.ParseAddr(state.NeighborAddress); err == nil {
				r.rib.session(addr, state.SessionState == api.PeerState_ESTABLISHED, time.Now())
			}
		}
		notify(r.wake)
	})
}

func (r *run) loop(ctx context.Context) error {
	r.retry, r.reading, r.revisit, r.deferring = stopped(), stopped(), stopped(), stopped()
	gathering := false
	polling := time.NewTicker(pollInterval)
	defer polling.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case config := <-r.wanted:
			if r.config.ASNumber == 0 && config.ASNumber != 0 && !r.synced {
				r.deferring.Reset(r.deferral)
			}
			if !reflect.DeepEqual(r.config.Peers, config.Peers) {
				r.peersSince = time.Now()
			}
			r.config, r.configured = config, time.Now()
			r.retry.Reset(0)
		case <-r.retry.C:
			r.rib.setOwn(r.config.Announce)
			r.failed = r.server.apply(ctx, r.config)
			if r.failed != nil {
				r.log.Error("BGP configuration not applied", "error", r.failed)
				r.retry.Reset(retryDelay)
			}
			r.reading.Reset(0)
		case <-polling.C:
			if len(r.server.peers) == 0 {
				continue
			}
			if err := r.poll(ctx); err != nil {
				return err
			}
		case <-r.deferring.C:
			r.synced = true
			r.reading.Reset(0)
		case <-r.revisit.C:
			r.reading.Reset(0)
		case <-r.wake:
			if !gathering {
				gathering = true
				r.reading.Reset(refreshDelay)
			}
		case <-r.reading.C:
			gathering = false
			if err := r.refresh(ctx); err != nil {
				return err
			}
		}
	}
}

// refresh reads the sessions and publishes the status.
func (r *run) refresh(ctx context.Context) error {
	status := bgp.Status{ASNumber: r.server.global.ASNumber, RouterID: r.server.global.RouterID, Off: r.config.Off,
		Started: r.started, Configured: r.configured}
	complete, now := 0, time.Now()
	var due []time.Time
	err := r.server.bgp.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.State.NeighborAddress)
		peer, known := r.server.peers[addr]
		if err != nil || !known {
			return
		}
		entry := r.peerStatus(peer, p)
		due = append(due, r.limit(ctx, peer, p, now), r.silent(ctx, peer, p, now), r.wait(ctx, peer, p, now))
		entry.Error = r.excessOf(peer)
		status.Peers = append(status.Peers, entry)
		if r.receivedAll(addr, p) {
			complete++
		}
	})
	if err != nil {
		return fmt.Errorf("list BGP peers: %w", err)
	}
	slices.SortFunc(status.Peers, func(a, b bgp.PeerStatus) int { return a.Addr.Compare(b.Addr) })
	r.forgetOthers()
	next := r.rib.expire(now)
	for _, t := range due {
		next = earliest(next, t)
	}
	// Without peers nothing tells whether they are only not known yet.
	if !r.synced && r.failed == nil && complete > 0 && complete == len(r.config.Peers) {
		if settled := r.peersSince.Add(settleTime); time.Now().Before(settled) {
			next = earliest(next, settled)
		} else {
			r.synced = true
		}
	}
	if !next.IsZero() {
		r.revisit.Reset(time.Until(next))
	}
	if r.synced {
		r.server.endRestart(ctx)
	}
	status.Synced, status.Routes = r.synced, len(r.rib.snapshot())
	if r.failed != nil {
		status.Error = r.failed.Error()
	}
	r.mu.Lock()
	r.status = status
	r.mu.Unlock()
	notify(r.changes)
	return nil
}

// wait decides how long to wait for a peer whose session was lost or is back. next is when to call it again, or zero.
func (r *run) wait(ctx context.Context, peer bgp.Peer, p *api.Peer, now time.Time) (next time.Time) {
	if stateOf(p) == bgp.Established && !sendsEndOfRIB(p) {
		r.rib.forget(peer.Addr)
		return next
	}
	graceful := p.GetGracefulRestart()
	expected := r.rib.bound(peer.Addr, time.Duration(graceful.GetPeerRestartTime())*time.Second,
		graceful.GetPeerRestarting())
	// One that was just added and has not sent an OPEN yet leaves Idle by itself.
	if !expected || stateOf(p) != bgp.Idle || p.GetState().GetMessages().GetSent().GetOpen() == 0 {
		return next
	}
	// What a route reflector passes on would be withdrawn with the peer, as long as GoBGP still keeps it.
	if graceful.GetPeerRestarting() && len(r.config.PassOn) > 0 {
		return next
	}
	if again := r.rib.flapsUntil(peer.Addr); now.Before(again) {
		return again
	}
	r.log.Info("BGP session lost, the peer is expected back", "peer", peer.Addr)
	r.renew(ctx, peer)
	return next
}

// sendsEndOfRIB reports whether the peer of an established session does graceful restart. The state that GoBGP has of
// the address families may be that of an earlier session.
func sendsEndOfRIB(p *api.Peer) bool {
	return slices.ContainsFunc(p.GetState().GetRemoteCap(), func(c *anypb.Any) bool {
		var graceful api.GracefulRestartCapability
		return c.UnmarshalTo(&graceful) == nil && len(graceful.Tuples) > 0
	})
}

func (r *run) peerStatus(peer bgp.Peer, p *api.Peer) bgp.PeerStatus {
	status := bgp.PeerStatus{Name: peer.Name, Addr: peer.Addr, ASNumber: peer.ASNumber, Type: "BGPPeer",
		State: stateOf(p)}
	if peer.Mesh {
		status.Type = "NodeMesh"
	}
	if r.since[peer.Addr].state != status.State {
		r.since[peer.Addr] = observed{status.State, time.Now()}
	}
	status.Since = r.since[peer.Addr].since
	for _, afi := range p.AfiSafis {
		status.Imported += afi.GetState().GetAccepted()
	}
	return status
}

// receivedAll reports whether the peer's End-of-RIB is behind its routes in the RIB, or will never come because
// the peer does not do graceful restart. What the server itself says of it is ahead of the watch.
func (r *run) receivedAll(addr netip.Addr, p *api.Peer) bool {
	if stateOf(p) != bgp.Established {
		return false
	}
	for _, afi := range p.AfiSafis {
		if afi.GetMpGracefulRestart().GetState().GetReceived() && !r.rib.hasEnded(addr) {
			return false
		}
	}
	return true
}

func stateOf(p *api.Peer) bgp.State {
	switch p.GetState().GetSessionState() {
	case api.PeerState_CONNECT:
		return bgp.Connect
	case api.PeerState_ACTIVE:
		return bgp.Active
	case api.PeerState_OPENSENT:
		return bgp.OpenSent
	case api.PeerState_OPENCONFIRM:
		return bgp.OpenConfirm
	case api.PeerState_ESTABLISHED:
		return bgp.Established
	}
	return bgp.Idle
}

// earliest of two times, of which a zero one does not count.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// stopped is a timer that fires when it is first Reset.
func stopped() *time.Timer {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return timer
}

func notify(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}
