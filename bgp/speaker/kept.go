package speaker

import (
	"net/netip"
	"time"
)

// The RIB is itself the receiving speaker of RFC 4724. GoBGP (v3.37) keeps the routes of a peer that restarts only
// until the first attempt to reconnect fails, which is long before the peer's restart time is over. The
// order of its events tells why a route is withdrawn: at the end of a session that was not lost gracefully (a
// NOTIFICATION came, or graceful restart was not negotiated) the withdrawals come before the session's new state. So
// what is withdrawn between that state and the next session was to be kept.

const (
	// longestRestart bounds the restart time that a peer may ask for.
	longestRestart = 10 * time.Minute
	// longestEndOfRIB is how long a peer that is back may take to send its End-of-RIB, which it
	// does when its own restart is over.
	longestEndOfRIB = 6 * time.Minute
)

// loss is the end of a peer's session.
type loss struct {
	at time.Time
	// until is when the peer's routes are no longer kept; zero until bound is called.
	until time.Time
	// graceful: the peer was known to restart when bound was called.
	graceful bool
	// back: the session is established again.
	back bool
}

// session takes a peer's state from the watch.
func (r *rib) session(peer netip.Addr, established bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.established[peer]
	switch {
	case established:
		r.established[peer] = true
		if _, lost := r.losses[peer]; lost && !before {
			r.losses[peer] = loss{at: now, until: now.Add(longestEndOfRIB), back: true}
		}
	case before:
		// RFC 4724 section 4.2: what has been kept since an earlier loss is not kept through another.
		r.release(peer)
		delete(r.established, peer)
		delete(r.ended, peer)
		r.losses[peer] = loss{at: now}
		r.ends[peer] = append(r.ends[peer], now)
		if n := len(r.ends[peer]); n > flaps {
			r.ends[peer] = r.ends[peer][n-flaps:]
		}
	}
}

// flapsUntil returns until when a peer counts as flapping. The time is in the past if it does not.
func (r *rib) flapsUntil(peer netip.Addr) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ends[peer]) < flaps {
		return time.Time{}
	}
	return r.ends[peer][0].Add(flapTime)
}

// bound says for how long after a peer's loss, if there is one, its routes are kept; the first call counts. It
// returns whether the peer is expected back.
func (r *rib) bound(peer netip.Addr, restart time.Duration, graceful bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, lost := r.losses[peer]
	if !lost {
		return false
	}
	if l.until.IsZero() {
		l.until, l.graceful = l.at.Add(min(restart, longestRestart)), graceful
		r.losses[peer] = l
	}
	return l.graceful && !l.back
}

// expire ends what is kept for too long; next is when to call it again, or zero.
func (r *rib) expire(now time.Time) (next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for peer, l := range r.losses {
		switch {
		case l.until.IsZero():
		case !now.Before(l.until):
			r.release(peer)
		case next.IsZero() || l.until.Before(next):
			next = l.until
		}
	}
	return next
}

// forget ends what is kept of a peer that is no longer the one it was, or will not send an End-of-RIB.
func (r *rib) forget(peer netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ended, peer)
	delete(r.ends, peer)
	r.release(peer)
}

// withdraw takes a route away, unless its peer is to be waited for. The caller holds mu.
func (r *rib) withdraw(dst netip.Prefix) {
	if l, lost := r.losses[r.routes[dst].Peer]; lost && !l.back {
		r.kept[dst] = true
		return
	}
	delete(r.routes, dst)
}

// release ends the wait for a peer. The caller holds mu.
func (r *rib) release(peer netip.Addr) {
	delete(r.losses, peer)
	for dst := range r.kept {
		if r.routes[dst].Peer == peer {
			delete(r.kept, dst)
			delete(r.routes, dst)
			r.sorted = nil
		}
	}
}
