package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/maneki-net/maneki/bgp"
)

// GoBGP ends the session of a peer that announces more than MaxPrefixes with a CEASE (RFC 4486, subcode 1), withdraws what
// it had from it, and never opens it again. Here it is opened again after a while, twice as long each time.

const (
	// firstExcessDelay is how long the session stays closed the first time, longestExcessDelay in the end.
	firstExcessDelay   = time.Minute
	longestExcessDelay = time.Hour
	// openTimeout is how long a peer whose connection is there may take to say who it is. GoBGP waits for four minutes,
	// and takes no other connection from that address meanwhile.
	openTimeout = 10 * time.Second
)

// excess is a peer that has announced too much.
type excess struct {
	delay time.Duration
	// until is when the session is opened again; zero while it is not closed.
	until time.Time
}

// limit opens the session again of a peer that has announced too much, when it is time; next is when to call it again, or
// zero. A peer that has been good for as long as it was closed has a clean record.
func (r *run) limit(ctx context.Context, peer bgp.Peer, p *api.Peer, now time.Time) (next time.Time) {
	e, known := r.excesses[peer.Addr]
	if p.GetState().GetAdminState() != api.PeerState_PFX_CT {
		if good := r.since[peer.Addr].since.Add(e.delay); known && stateOf(p) == bgp.Established {
			if now.Before(good) {
				return good
			}
			delete(r.excesses, peer.Addr)
		}
		return time.Time{}
	}
	if e.until.IsZero() {
		e.delay = min(max(2*e.delay, r.excessDelay), longestExcessDelay)
		e.until = now.Add(e.delay)
		r.log.Error("BGP session closed: the peer announces too much", "peer", peer.Addr, "limit", peer.MaxPrefixes, "until", e.until)
	}
	if !now.Before(e.until) {
		e.until = time.Time{}
		r.renew(ctx, peer)
	}
	r.excesses[peer.Addr] = e
	return e.until
}

// excessOf says what is wrong with a peer that has announced too much, empty if it has not.
func (r *run) excessOf(peer bgp.Peer) string {
	e := r.excesses[peer.Addr]
	if e.until.IsZero() {
		return ""
	}
	return fmt.Sprintf("it announced more than %d routes; the session is closed until %s", peer.MaxPrefixes, e.until.UTC().Format(time.RFC3339))
}

// silent closes a connection over which nothing came; next is when to call it again, or zero. Whatever connected, the
// peer can connect then.
func (r *run) silent(ctx context.Context, peer bgp.Peer, p *api.Peer, now time.Time) (next time.Time) {
	if stateOf(p) != bgp.OpenSent {
		return time.Time{}
	}
	late := r.since[peer.Addr].since.Add(openTimeout)
	if now.Before(late) {
		return late
	}
	r.log.Info("BGP connection without an OPEN closed", "peer", peer.Addr)
	r.renew(ctx, peer)
	return time.Time{}
}

// renew makes a peer anew, and tries again if that fails.
func (r *run) renew(ctx context.Context, peer bgp.Peer) {
	delete(r.since, peer.Addr)
	if err := r.server.renew(ctx, peer); err != nil {
		r.log.Error("BGP peer not renewed", "error", err)
		r.failed = err
		r.retry.Reset(retryDelay)
	}
}

// forgetOthers drops what is remembered of peers that are no longer there.
func (r *run) forgetOthers() {
	gone := func(addr netip.Addr) bool { _, is := r.server.peers[addr]; return !is }
	for addr := range r.since {
		if gone(addr) {
			delete(r.since, addr)
		}
	}
	for addr := range r.excesses {
		if gone(addr) {
			delete(r.excesses, addr)
		}
	}
}
