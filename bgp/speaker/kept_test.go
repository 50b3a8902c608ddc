package speaker

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/osrg/gobgp/v3/api"
)

// The server's events, in the orders in which it sends them, and what the RIB then has.
func TestKeptRoutes(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	start := time.Now()
	type event func(*rib)
	announce := func(peer netip.Addr, dst string) event {
		return func(r *rib) { r.update([]*api.Path{learned(peer, dst)}) }
	}
	withdraw := func(peer netip.Addr, dst string) event {
		return func(r *rib) {
			path := learned(peer, dst)
			path.IsWithdraw = true
			r.update([]*api.Path{path})
		}
	}
	up := func(peer netip.Addr) event { return func(r *rib) { r.session(peer, true, start) } }
	down := func(peer netip.Addr) event {
		return func(r *rib) { r.session(peer, false, start); r.bound(peer, 10*time.Second, true) }
	}
	end := func(peer netip.Addr) event {
		return func(r *rib) { r.update([]*api.Path{{NeighborIp: peer.String()}}) }
	}
	expire := func(after time.Duration) event { return func(r *rib) { r.expire(start.Add(after)) } }
	const x, y = "10.1.0.0/26", "10.2.0.0/26"
	for name, c := range map[string]struct {
		events []event
		want   []string
	}{
		"withdrawn by the peer": {[]event{up(a), announce(a, x), withdraw(a, x)}, nil},
		"lost not gracefully":   {[]event{up(a), announce(a, x), withdraw(a, x), down(a)}, nil},
		"lost gracefully":       {[]event{up(a), announce(a, x), down(a), withdraw(a, x)}, []string{x}},
		"shortly before the end": {[]event{up(a), announce(a, x), down(a), withdraw(a, x),
			expire(9 * time.Second)}, []string{x}},
		"not back in time": {[]event{up(a), announce(a, x), down(a), withdraw(a, x),
			expire(10 * time.Second)}, nil},
		"withdrawn after the end": {[]event{up(a), announce(a, x), down(a), expire(10 * time.Second),
			withdraw(a, x)}, nil},
		"back, End-of-RIB to come": {[]event{up(a), announce(a, x), down(a), withdraw(a, x), up(a),
			expire(time.Minute)}, []string{x}},
		"back, End-of-RIB never comes": {[]event{up(a), announce(a, x), down(a), withdraw(a, x), up(a),
			expire(longestEndOfRIB)}, nil},
		"back with one of two": {[]event{up(a), announce(a, x), announce(a, y), down(a), withdraw(a, x),
			withdraw(a, y), up(a), announce(a, y), end(a)}, []string{y}},
		"back, then withdrawn": {[]event{up(a), announce(a, x), down(a), withdraw(a, x), up(a),
			announce(a, x), end(a), withdraw(a, x)}, nil},
		"back, withdrawn before the end": {[]event{up(a), announce(a, x), down(a), up(a), withdraw(a, x)}, nil},
		"lost again before End-of-RIB": {[]event{up(a), announce(a, x), announce(a, y), down(a), withdraw(a, x),
			withdraw(a, y),
			up(a), announce(a, y), down(a), withdraw(a, y)}, []string{y}},
		"removed from the configuration": {[]event{up(a), announce(a, x), down(a), withdraw(a, x),
			func(r *rib) { r.forget(a) }}, nil},
		"removed before it was withdrawn": {[]event{up(a), announce(a, x), down(a), func(r *rib) { r.forget(a) },
			withdraw(a, x)}, nil},
		"another peer is not concerned": {[]event{up(a), up(b), announce(a, x), announce(b, y), down(a),
			withdraw(a, x), withdraw(b, y)}, []string{x}},
		"another peer's way is the better": {[]event{up(a), up(b), announce(a, x), down(a), withdraw(a, x),
			announce(b, x),
			expire(10 * time.Second)}, []string{x}},
		"another peer's way is withdrawn": {[]event{up(a), up(b), announce(a, x), down(a), withdraw(a, x),
			announce(b, x), withdraw(b, x)}, nil},
		"a restart time beyond the bound": {[]event{up(a), announce(a, x),
			func(r *rib) { r.session(a, false, start); r.bound(a, time.Hour, true) },
			withdraw(a, x), expire(longestRestart)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRIB()
			for _, event := range c.events {
				event(&r)
				r.snapshot() // a later change must show in spite of it
			}
			var got []string
			for _, route := range r.snapshot() {
				got = append(got, route.Dst.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if len(r.kept) > 0 && len(r.losses) == 0 {
				t.Errorf("kept for nobody: %v", r.kept)
			}
		})
	}
}

// learned is a path that a peer announced with itself as the next hop.
func learned(peer netip.Addr, dst string) *api.Path {
	path := ownPath(netip.MustParsePrefix(dst))
	path.NeighborIp = peer.String()
	path.Pattrs[1] = packed(&api.NextHopAttribute{NextHop: peer.String()})
	return path
}

func TestExpireSaysWhenItIsDueNext(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	r, start := newRIB(), time.Now()
	for _, peer := range []netip.Addr{a, b} {
		r.session(peer, true, start)
		r.session(peer, false, start)
	}
	if next := r.expire(start); !next.IsZero() {
		t.Errorf("due %s though no restart time is known", next)
	}
	r.bound(a, 20*time.Second, true)
	r.bound(b, 10*time.Second, true)
	r.bound(b, 30*time.Second, true) // the first counts
	if next := r.expire(start); next != start.Add(10*time.Second) {
		t.Errorf("due %s, want 10s after the loss", next.Sub(start))
	}
	if next := r.expire(start.Add(10 * time.Second)); next != start.Add(20*time.Second) {
		t.Errorf("then due %s, want 20s after the loss", next.Sub(start))
	}
}
