package bgp

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// sessions resolves the sessions of nodes from the Resolver's resources as they were when it was made.
type sessions struct {
	r     *Resolver
	peers []*peer // sorted by name
	ends  map[*peer]peerEnds
	// withAddr are the nodes by their addresses: of several nodes with one address, the first by name.
	withAddr map[netip.Addr]*node
}

// peerEnds are the nodes at the two ends of the sessions of a BGPPeer.
type peerEnds struct{ nodes, remotes []*node }

func (r *Resolver) newSessions() *sessions {
	s := &sessions{r: r, ends: map[*peer]peerEnds{}, withAddr: map[netip.Addr]*node{}}
	nodes := make([]*node, 0, len(r.nodes))
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) { // the result must not depend on the order of the map
		nodes = append(nodes, r.nodes[name])
	}
	for _, n := range nodes {
		for _, a := range []netip.Addr{n.IPv4.Addr(), n.IPv6.Addr()} {
			if s.withAddr[a] == nil && a.IsValid() {
				s.withAddr[a] = n
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.peers)) {
		p := r.peers[name]
		var ends peerEnds
		for _, n := range nodes {
			if p.node(n) {
				ends.nodes = append(ends.nodes, n)
			}
			if s.isRemote(p, n) {
				ends.remotes = append(ends.remotes, n)
			}
		}
		s.peers = append(s.peers, p)
		s.ends[p] = ends
	}
	return s
}

// isRemote reports whether a node is at the far end of a BGPPeer's sessions. At a node's address there may also be
// another speaker, with another AS number or on another port.
func (s *sessions) isRemote(p *peer, n *node) bool {
	if p.remote != nil {
		return p.remote(n)
	}
	return s.withAddr[p.addr.Addr()] == n &&
		(p.spec.ASNumber == 0 || p.spec.ASNumber == s.r.asNumber(n)) &&
		(p.addr.Port() == 0 || p.addr.Port() == s.r.listenPort(n.Name))
}

// of returns a node's sessions, sorted by name, and the addresses with which it must have none. The node has the
// sessions of the BGPPeers that select it. With an address that none of these names, it has the session for which a
// BGPPeer selects the node at that address.
func (s *sessions) of(n *node) (open []wire.BGPPeer, barred []netip.Addr) {
	known, bars := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, p := range s.peers {
		if !p.node(n) {
			continue
		}
		for _, session := range s.forward(n, p) {
			bars[session.Addr] = bars[session.Addr] || p.password
			if session.ASNumber != 0 { // see noASNumber
				known[session.Addr] = true
				open = append(open, session)
			}
		}
	}
	for _, p := range s.peers {
		if p.spec.ReversePeering == "Manual" || !s.isRemote(p, n) {
			continue
		}
		for _, session := range s.reverse(n, p) {
			bars[session.Addr] = bars[session.Addr] || p.password
			if !known[session.Addr] {
				known[session.Addr] = true
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

// forward returns the sessions of a node that a BGPPeer selects.
func (s *sessions) forward(n *node, p *peer) []wire.BGPPeer {
	if p.remote == nil {
		return s.towards(n, p)
	}
	var out []wire.BGPPeer
	for _, other := range s.ends[p].remotes {
		for _, addr := range addrsOf(n, other) {
			session := p.session
			session.Addr, session.ASNumber = addr, s.r.asNumber(other)
			out = append(out, s.between(n, other, p, session))
		}
	}
	return out
}

// towards returns a node's session with the address that a BGPPeer names. Its AS number is 0 if it is not known.
func (s *sessions) towards(n *node, p *peer) []wire.BGPPeer {
	if n.has(p.addr.Addr()) {
		return nil
	}
	session := p.session
	if remotes := s.ends[p].remotes; len(remotes) > 0 {
		session.Port, session.Node = s.r.hostPort(remotes[0].Name), remotes[0].Name
		session.ASNumber = s.r.asNumber(remotes[0])
	}
	local := s.r.asNumber(n)
	s.reflect(n, &session, local, s.withAddr[session.Addr])
	s.r.setFilters(&session, p.spec.Filters, local)
	return []wire.BGPPeer{session}
}

// reverse returns the sessions of a node at the far end of a BGPPeer: one with each node that the BGPPeer selects.
func (s *sessions) reverse(n *node, p *peer) []wire.BGPPeer {
	var out []wire.BGPPeer
	for _, other := range s.ends[p].nodes {
		for _, addr := range addrsOf(n, other) {
			if p.remote == nil && addr.Is4() != p.addr.Addr().Is4() {
				continue
			}
			session := p.session
			session.Addr, session.LocalASNumber, session.Global = addr, 0, false
			session.ASNumber = cmp.Or(p.session.LocalASNumber, s.r.asNumber(other))
			out = append(out, s.between(n, other, p, session))
		}
	}
	return out
}

// noASNumber returns why a BGPPeer has no sessions if that is because its AS number is missing, else an empty text.
func (s *sessions) noASNumber(p *peer) string {
	if p.remote != nil || p.spec.ASNumber != 0 || len(s.ends[p].remotes) > 0 {
		return ""
	}
	if n := s.withAddr[p.addr.Addr()]; n != nil {
		return fmt.Sprintf("spec.asNumber: is needed, because node %s listens at port %d, not at %d: no session is "+
			"opened",
			n.Name, s.r.listenPort(n.Name), p.addr.Port())
	}
	return fmt.Sprintf("spec.asNumber: is needed, because no node has the address %s: no session is opened",
		p.addr.Addr())
}

// between completes a session between two nodes.
func (s *sessions) between(n, other *node, p *peer, session wire.BGPPeer) wire.BGPPeer {
	local := s.r.asNumber(n)
	session.Port, session.Node = s.r.hostPort(other.Name), other.Name
	session.Name = fmt.Sprintf("%s/%s/%d", p.name, other.Name, familyOf(session.Addr))
	s.reflect(n, &session, local, other)
	s.r.setFilters(&session, p.spec.Filters, local)
	return session
}

// addrsOf returns the addresses at which a node has sessions with another one.
func addrsOf(n, other *node) (addrs []netip.Addr) {
	if n.Name == other.Name {
		return nil
	}
	for _, ends := range [][2]netip.Prefix{{n.IPv4, other.IPv4}, {n.IPv6, other.IPv6}} {
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

// reflect makes the peer a client of the node if the node is a route reflector, the session is internal, and the peer
// is no reflector of the same cluster (RFC 4456).
func (s *sessions) reflect(n *node, session *wire.BGPPeer, local uint32, peer *node) {
	local = cmp.Or(session.LocalASNumber, local)
	if n.RouteReflectorClusterID == "" || session.ASNumber != local ||
		peer != nil && peer.RouteReflectorClusterID == n.RouteReflectorClusterID {
		return
	}
	session.RouteReflectorPeer, session.ClusterID = true, n.RouteReflectorClusterID
}
