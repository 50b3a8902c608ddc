package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/maneki-net/maneki/bgp"
)

const (
	// refreshDelay gathers the session changes of a moment, many when a mesh comes up, into one reading.
	refreshDelay = 50 * time.Millisecond
	// retryDelay is how long after a configuration that failed it is tried again.
	retryDelay = 5 * time.Second
)

// run is the state of one Run, on its goroutine.
type run struct {
	*Speaker
	server *embedded
	config bgp.Config
	// wake receives when sessions may have changed; depth 1, written by the watch.
	wake  chan struct{}
	since map[netip.Addr]observed
	// synced, once true, stays so until the process ends.
	synced bool
	failed error
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
		notify(r.wake)
	})
}

func (r *run) loop(ctx context.Context) error {
	// The timers are off until they are needed.
	refresh, retry, deferral := stopped(), stopped(), stopped()
	gathering := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case config := <-r.wanted:
			if r.config.ASNumber == 0 && config.ASNumber != 0 && !r.synced {
				deferral.Reset(r.deferral)
			}
			r.config = config
			retry.Reset(0)
		case <-retry.C:
			r.rib.setOwn(r.config.Announce)
			if r.failed = r.server.apply(ctx, r.config); r.failed != nil {
				r.log.Error("BGP configuration not applied", "error", r.failed)
				retry.Reset(retryDelay)
			}
			refresh.Reset(0)
		case <-deferral.C:
			r.synced = true
			refresh.Reset(0)
		case <-r.wake:
			if !gathering {
				gathering = true
				refresh.Reset(refreshDelay)
			}
		case <-refresh.C:
			gathering = false
			if err := r.refresh(ctx); err != nil {
				return err
			}
		}
	}
}

// refresh reads the sessions and publishes the status.
func (r *run) refresh(ctx context.Context) error {
	status := bgp.Status{ASNumber: r.server.global.ASNumber, RouterID: r.server.global.RouterID, Routes: len(r.rib.snapshot())}
	if r.failed != nil {
		status.Error = r.failed.Error()
	}
	complete := 0
	err := r.server.bgp.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.State.NeighborAddress)
		peer, known := r.server.peers[addr]
		if err != nil || !known {
			return
		}
		status.Peers = append(status.Peers, r.peerStatus(peer, p))
		if r.receivedAll(addr, p) {
			complete++
		}
	})
	if err != nil {
		return fmt.Errorf("list BGP peers: %w", err)
	}
	slices.SortFunc(status.Peers, func(a, b bgp.PeerStatus) int { return a.Addr.Compare(b.Addr) })
	if r.failed == nil && complete == len(r.config.Peers) {
		r.synced = true
	}
	if r.synced {
		r.server.raiseAnchor(ctx)
	}
	status.Synced = r.synced
	r.mu.Lock()
	r.status = status
	r.mu.Unlock()
	notify(r.changes)
	return nil
}

func (r *run) peerStatus(peer bgp.Peer, p *api.Peer) bgp.PeerStatus {
	status := bgp.PeerStatus{Name: peer.Name, Addr: peer.Addr, ASNumber: peer.ASNumber, Type: "BGPPeer", State: stateOf(p)}
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

// receivedAll says whether the peer's End-of-RIB is behind its routes in the RIB, or will never come because
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
