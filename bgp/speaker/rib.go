package speaker

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/maneki-net/maneki/bgp"
)

// rib holds the best paths that peers announced, and what it keeps of peers that restart (kept.go). The
// server's watch and Run write it and anyone may read it.
type rib struct {
	mu     sync.Mutex
	routes map[netip.Prefix]bgp.Route
	own    []netip.Prefix
	// ended are the peers whose End-of-RIB has come, after all the routes before it.
	ended map[netip.Addr]bool
	// established are the peers whose session is, as of the events taken so far.
	established map[netip.Addr]bool
	// losses are the peers that were established, and whose return, with all its routes, is waited for.
	losses map[netip.Addr]loss
	// ends are when the last sessions of a peer ended, flaps at most.
	ends map[netip.Addr][]time.Time
	// kept are the destinations of routes that the server has withdrawn, each of a peer in losses.
	kept map[netip.Prefix]bool
	// sorted is routes without own, made when it is next asked for; nil when stale.
	sorted []bgp.Route
}

func newRIB() rib {
	return rib{
		routes: map[netip.Prefix]bgp.Route{}, ended: map[netip.Addr]bool{},
		established: map[netip.Addr]bool{}, losses: map[netip.Addr]loss{}, kept: map[netip.Prefix]bool{},
		ends: map[netip.Addr][]time.Time{},
	}
}

// update takes the paths of one event. An event holds all equally good paths of each
// destination it names, or a withdrawn path when none is left.
func (r *rib) update(paths []*api.Path) {
	learned := map[netip.Prefix]bgp.Route{}
	for _, path := range paths {
		peer, err := netip.ParseAddr(path.NeighborIp)
		if path.Nlri == nil {
			r.end(peer)
			continue
		}
		dst, ok := destination(path)
		if !ok {
			continue
		}
		route := learned[dst]
		route.Dst = dst
		hop := nextHop(path)
		// A path without a peer is the node's own.
		if err == nil && !path.IsWithdraw && hop.Is4() == dst.Addr().Is4() {
			if !route.Peer.IsValid() {
				route.Peer = peer
			}
			route.NextHops = append(route.NextHops, hop)
		}
		learned[dst] = route
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for dst, route := range learned {
		if len(route.NextHops) == 0 {
			r.withdraw(dst)
			continue
		}
		delete(r.kept, dst)
		slices.SortFunc(route.NextHops, netip.Addr.Compare)
		route.NextHops = slices.Compact(route.NextHops)
		r.routes[dst] = route
	}
	r.sorted = nil
}

// end notes a peer's End-of-RIB, which the watch gives as a path to nowhere. What the peer has not announced
// again by then it no longer has.
func (r *rib) end(peer netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[peer] = true
	r.release(peer)
}

func (r *rib) hasEnded(peer netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended[peer]
}

// setOwn sets the destinations on the node, for which no learned route is wanted.
func (r *rib) setOwn(own []netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own, r.sorted = own, nil
}

// snapshot returns the routes sorted by destination; it must not be modified.
func (r *rib) snapshot() []bgp.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sorted != nil {
		return r.sorted
	}
	r.sorted = make([]bgp.Route, 0, len(r.routes))
	for _, route := range r.routes {
		if !r.isOwn(route.Dst) {
			r.sorted = append(r.sorted, route)
		}
	}
	slices.SortFunc(r.sorted, func(a, b bgp.Route) int { return a.Dst.Compare(b.Dst) })
	return r.sorted
}

// isOwn reports whether dst is one of the node's own destinations. What lies inside a block of the node is
// not: that is how another node announces an address that it borrowed from the block.
func (r *rib) isOwn(dst netip.Prefix) bool { return slices.Contains(r.own, dst) }

func destination(path *api.Path) (netip.Prefix, bool) {
	var nlri api.IPAddressPrefix
	if path.Nlri.UnmarshalTo(&nlri) != nil {
		return netip.Prefix{}, false
	}
	addr, err := netip.ParseAddr(nlri.Prefix)
	if err != nil {
		return netip.Prefix{}, false
	}
	// GoBGP writes IPv4 within IPv6 (::ffff:0:0/96) as IPv4 with a length of more than 32.
	dst := netip.PrefixFrom(addr, int(nlri.PrefixLen)).Masked()
	return dst, dst.IsValid()
}

// nextHop is the path's next hop, the global one where there is a link-local one too (RFC 2545).
func nextHop(path *api.Path) netip.Addr {
	for _, attribute := range path.Pattrs {
		var v4 api.NextHopAttribute
		if attribute.UnmarshalTo(&v4) == nil {
			addr, _ := netip.ParseAddr(v4.NextHop)
			return addr
		}
		var v6 api.MpReachNLRIAttribute
		if attribute.UnmarshalTo(&v6) == nil && len(v6.NextHops) > 0 {
			addr, _ := netip.ParseAddr(v6.NextHops[0])
			return addr
		}
	}
	return netip.Addr{}
}
