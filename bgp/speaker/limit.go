package speaker

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/maneki-net/maneki/bgp"
)

// The session of a peer that exceeds a limit is closed for a while. When a peer announces more than MaxPrefixes, GoBGP
// ends the session with a CEASE (RFC 4486, subcode 1), withdraws the peer's routes, and never opens the session again.
// GoBGP does not limit the messages of a peer; they wait in queues without bound. Here a closed session is opened again
// after a delay, which doubles each time.

const (
	// firstExcessDelay is how long the session stays closed the first time, longestExcessDelay the limit.
	firstExcessDelay   = time.Minute
	longestExcessDelay = time.Hour
	// openTimeout is how long the OPEN handshake may take on a connection. GoBGP waits for four minutes, and accepts no
	// other connection from that address meanwhile.
	openTimeout = 10 * time.Second
	// A peer that has lost flaps sessions within flapTime cannot connect again at once: GoBGP's delay of five seconds
	// holds.
	flaps    = 3
	flapTime = 15 * time.Second
	// pollInterval is how often messages are counted. In one interval, a peer may request all routes maxRefreshes times
	// and send maxUpdates updates. That is more than a session that starts needs.
	pollInterval = 2 * time.Second
	maxRefreshes = 20
	maxUpdates   = 100_000
)

// excess is the record of a peer that has exceeded a limit.
type excess struct {
	delay time.Duration // how long the session was last closed
	// until is when the session is opened again; zero while it is not closed.
	until  time.Time
	reason string
}

// received counts messages of a peer.
type received struct{ updates, refreshes uint64 }

// limit records a peer whose session GoBGP has closed, and opens the session again when it is time. next is when to
// call it again, or zero. The record is deleted when the session has been up for as long as it was closed.
func (r *run) limit(ctx context.Context, peer bgp.Peer, p *api.Peer, now time.Time) (next time.Time) {
	e, known := r.excesses[peer.Addr]
	switch {
	case e.until.IsZero() && p.GetState().GetAdminState() == api.PeerState_PFX_CT:
		r.punish(peer, fmt.Sprintf("it announced more than %d routes", peer.MaxPrefixes), now)
	case e.until.IsZero() && known && stateOf(p) == bgp.Established:
		if good := r.since[peer.Addr].since.Add(e.delay); now.Before(good) {
			return good
		}
		delete(r.excesses, peer.Addr)
	case !e.until.IsZero() && !now.Before(e.until):
		e.until = time.Time{}
		r.excesses[peer.Addr] = e
		r.renew(ctx, peer)
	}
	return r.excesses[peer.Addr].until
}

// punish records that the session of a peer stays closed for a while.
func (r *run) punish(peer bgp.Peer, reason string, now time.Time) {
	delay := min(max(2*r.excesses[peer.Addr].delay, r.excessDelay), longestExcessDelay)
	e := excess{delay: delay, until: now.Add(delay), reason: reason}
	r.excesses[peer.Addr] = e
	r.log.Error("BGP session closed for a while", "peer", peer.Addr, "reason", reason, "until", e.until)
}

// excessOf returns why the session of a peer is kept closed. It is empty if it is not.
func (r *run) excessOf(peer bgp.Peer) string {
	e := r.excesses[peer.Addr]
	if e.until.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s; the session is closed until %s", e.reason, e.until.UTC().Format(time.RFC3339))
}

// poll closes the sessions of peers that send too many messages.
func (r *run) poll(ctx context.Context) error {
	before := r.messages
	r.messages = map[netip.Addr]received{}
	err := r.server.bgp.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.State.NeighborAddress)
		peer, known := r.server.peers[addr]
		if err != nil || !known || stateOf(p) != bgp.Established {
			return
		}
		m := p.GetState().GetMessages().GetReceived()
		now := received{m.GetUpdate(), m.GetRefresh()}
		r.messages[addr] = now
		was := before[addr]
		switch {
		case now.refreshes > was.refreshes+maxRefreshes:
			r.close(ctx, peer, fmt.Sprintf("it asked for all routes %d times in %s", now.refreshes-was.refreshes,
				pollInterval))
		case now.updates > was.updates+maxUpdates:
			r.close(ctx, peer, fmt.Sprintf("it sent %d UPDATE messages in %s", now.updates-was.updates, pollInterval))
		}
	})
	if err != nil {
		return fmt.Errorf("count messages of BGP peers: %w", err)
	}
	return nil
}

// close ends a session, and keeps it closed for a while.
func (r *run) close(ctx context.Context, peer bgp.Peer, reason string) {
	if err := r.server.bgp.DisablePeer(ctx, &api.DisablePeerRequest{Address: peer.Addr.String()}); err != nil {
		r.log.Error("BGP session not closed", "peer", peer.Addr, "reason", reason, "error", err)
		return
	}
	r.punish(peer, reason, time.Now())
	r.reading.Reset(0)
}

// silent closes a connection that does not become a session in time. next is when to call it again, or zero. After that
// the peer can connect, whoever had opened the connection.
func (r *run) silent(ctx context.Context, peer bgp.Peer, p *api.Peer, now time.Time) (next time.Time) {
	if state := stateOf(p); state != bgp.OpenSent && state != bgp.OpenConfirm {
		return time.Time{}
	}
	late := r.since[peer.Addr].since.Add(openTimeout)
	if now.Before(late) {
		return late
	}
	r.log.Info("BGP connection without a session closed", "peer", peer.Addr)
	r.renew(ctx, peer)
	return time.Time{}
}

// renew removes a peer and adds it again, and schedules a retry if that fails.
func (r *run) renew(ctx context.Context, peer bgp.Peer) {
	delete(r.since, peer.Addr)
	if err := r.server.renew(ctx, peer); err != nil {
		r.log.Error("BGP peer not renewed", "error", err)
		r.failed = err
		r.retry.Reset(retryDelay)
	}
}

// forgetOthers deletes the records of peers that no longer exist.
func (r *run) forgetOthers() {
	gone := func(addr netip.Addr) bool { _, is := r.server.peers[addr]; return !is }
	maps.DeleteFunc(r.since, func(addr netip.Addr, _ observed) bool { return gone(addr) })
	maps.DeleteFunc(r.excesses, func(addr netip.Addr, _ excess) bool { return gone(addr) })
}
