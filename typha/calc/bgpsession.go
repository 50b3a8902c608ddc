package calc

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// sessions gives nodes their sessions, as of when it was made.
type sessions struct {
	e     *Engine
	peers []*bgpPeer // sorted by name
	ends  map[*bgpPeer]bgpEnds
	// withAddr are the nodes, by their addresses; of several with one, the first by name.
	withAddr map[netip.Addr]*host
}

// bgpEnds are the nodes at the two ends of a peer's sessions.
type bgpEnds struct{ nodes, remotes []*host }

func (e *Engine) newSessions() *sessions {
	s := &sessions{e: e, ends: map[*bgpPeer]bgpEnds{}, withAddr: map[netip.Addr]*host{}}
	hosts := make([]*host, 0, len(e.hosts))
	for _, name := range slices.Sorted(maps.Keys(e.hosts)) { // sorted, so that the result is the same each time
		hosts = append(hosts, e.hosts[name])
	}
	for _, h := range hosts {
		for _, a := range []netip.Addr{h.IPv4.Addr(), h.IPv6.Addr()} {
			if other := s.withAddr[a]; a.IsValid() && (other == nil || h.Name < other.Name) {
				s.withAddr[a] = h
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.bgp.peers)) {
		p := e.bgp.peers[name]
		var ends bgpEnds
		for _, h := range hosts {
			if p.node(h) {
				ends.nodes = append(ends.nodes, h)
			}
			if s.isRemote(p, h) {
				ends.remotes = append(ends.remotes, h)
			}
		}
		s.peers = append(s.peers, p)
		s.ends[p] = ends
	}
	return s
}

// isRemote reports whether a node is at the far end of a peer's sessions. Something else may speak BGP at a node's
// address, with another AS number or on another port.
func (s *sessions) isRemote(p *bgpPeer, h *host) bool {
	if p.remote != nil {
		return p.remote(h)
	}
	return s.withAddr[p.addr.Addr()] == h &&
		(p.spec.ASNumber == 0 || p.spec.ASNumber == s.e.asNumber(h)) &&
		(p.addr.Port() == 0 || p.addr.Port() == s.e.listenPort(h.Name))
}

// of returns a node's sessions, sorted by name, and the addresses with which it may have none. Sessions are those that
// peers ask it to open and, where nothing is asked of it about an address, those that a peer asks the node with that
// address to open with it.
func (s *sessions) of(h *host) (open []wire.BGPPeer, barred []netip.Addr) {
	asked, bars := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, p := range s.peers {
		if !p.node(h) {
			continue
		}
		for _, session := range s.forward(h, p) {
			bars[session.Addr] = bars[session.Addr] || p.password
			if session.ASNumber != 0 { // see noASNumber
				asked[session.Addr] = true
				open = append(open, session)
			}
		}
	}
	for _, p := range s.peers {
		if p.spec.ReversePeering == "Manual" || !s.isRemote(p, h) {
			continue
		}
		for _, session := range s.reverse(h, p) {
			bars[session.Addr] = bars[session.Addr] || p.password
			if !asked[session.Addr] {
				asked[session.Addr] = true
				open = append(open, session)
			}
		}
	}
	open = slices.DeleteFunc(open, func(p wire.BGPPeer) bool { return bars[p.Addr] })
	slices.SortFunc(open, func(a, b wire.BGPPeer) int { return cmp.Compare(a.Name, b.Name) })
	for addr, barring := range bars {
		if barring {
			barred = append(barred, addr)
		}
	}
	slices.SortFunc(barred, netip.Addr.Compare)
	return open, barred
}

// forward returns the sessions that a peer asks a node to open.
func (s *sessions) forward(h *host, p *bgpPeer) []wire.BGPPeer {
	if p.remote == nil {
		return s.towards(h, p)
	}
	var out []wire.BGPPeer
	for _, other := range s.ends[p].remotes {
		for _, addr := range addrsOf(h, other) {
			session := p.session
			session.Addr, session.ASNumber = addr, s.e.asNumber(other)
			out = append(out, s.between(h, other, p, session))
		}
	}
	return out
}

// towards returns the session with the address that a peer has. Its AS number is 0 if it is not known.
func (s *sessions) towards(h *host, p *bgpPeer) []wire.BGPPeer {
	if h.has(p.addr.Addr()) {
		return nil
	}
	session := p.session
	if remotes := s.ends[p].remotes; len(remotes) > 0 {
		session.Port, session.Node = s.e.bgpPort(remotes[0].Name), remotes[0].Name
		session.ASNumber = s.e.asNumber(remotes[0])
	}
	local := s.e.asNumber(h)
	s.reflect(h, &session, local, s.withAddr[session.Addr])
	s.e.filter(&session, p.spec.Filters, local)
	return []wire.BGPPeer{session}
}

// reverse returns the other ends of the sessions that a peer asks other nodes to open with a node.
func (s *sessions) reverse(h *host, p *bgpPeer) []wire.BGPPeer {
	var out []wire.BGPPeer
	for _, other := range s.ends[p].nodes {
		for _, addr := range addrsOf(h, other) {
			if p.remote == nil && addr.Is4() != p.addr.Addr().Is4() {
				continue
			}
			session := p.session
			session.Addr, session.LocalASNumber, session.Global = addr, 0, false
			session.ASNumber = cmp.Or(p.session.LocalASNumber, s.e.asNumber(other))
			out = append(out, s.between(h, other, p, session))
		}
	}
	return out
}

// noASNumber returns why a peer has no sessions for want of an AS number; empty if it does not want one.
func (s *sessions) noASNumber(p *bgpPeer) string {
	if p.remote != nil || p.spec.ASNumber != 0 || len(s.ends[p].remotes) > 0 {
		return ""
	}
	if h := s.withAddr[p.addr.Addr()]; h != nil {
		return fmt.Sprintf("spec.asNumber: is needed, because node %s listens at port %d, not at %d: no session is opened",
			h.Name, s.e.listenPort(h.Name), p.addr.Port())
	}
	return fmt.Sprintf("spec.asNumber: is needed, because no node has the address %s: no session is opened", p.addr.Addr())
}

// between completes a session of a node with another.
func (s *sessions) between(h, other *host, p *bgpPeer, session wire.BGPPeer) wire.BGPPeer {
	local := s.e.asNumber(h)
	session.Port, session.Node = s.e.bgpPort(other.Name), other.Name
	session.Name = fmt.Sprintf("%s/%s/%d", p.name, other.Name, familyOf(session.Addr))
	s.reflect(h, &session, local, other)
	s.e.filter(&session, p.spec.Filters, local)
	return session
}

// addrsOf returns the addresses at which a node has sessions with another one.
func addrsOf(h, other *host) (addrs []netip.Addr) {
	if h.Name == other.Name {
		return nil
	}
	for _, ends := range [][2]netip.Prefix{{h.IPv4, other.IPv4}, {h.IPv6, other.IPv6}} {
		if ends[0].IsValid() && ends[1].IsValid() {
			addrs = append(addrs, ends[1].Addr())
		}
	}
	return addrs
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// reflect makes the peer a client where the node is a route reflector: in an internal session
// with a peer that is not a reflector of the same cluster (RFC 4456).
func (s *sessions) reflect(h *host, session *wire.BGPPeer, local uint32, peer *host) {
	local = cmp.Or(session.LocalASNumber, local)
	if h.RouteReflectorClusterID == "" || session.ASNumber != local ||
		peer != nil && peer.RouteReflectorClusterID == h.RouteReflectorClusterID {
		return
	}
	session.RouteReflectorPeer, session.ClusterID = true, h.RouteReflectorClusterID
}
