// Package bgp says what a node's BGP speaker is to do and what it has learned: plain
// values, and the pure function from the stream's objects to a speaker's configuration.
//
// It does no I/O, starts no goroutine and knows no BGP implementation; that is
// bgp/speaker. Felix's agent calls it on its own goroutine.
package bgp

import (
	"net/netip"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// DefaultPort is the BGP port of RFC 4271.
const DefaultPort = 179

// DefaultRestartTime is the graceful restart time of a peer that names none (Calico's default, RFC 4724).
const DefaultRestartTime = 120 * time.Second

// Config is everything a speaker needs. The zero value is a speaker that is off, and so is one without Peers: it does
// not listen. A Config that was handed out is not modified.
type Config struct {
	// ASNumber of the node; 0 is off.
	ASNumber uint32
	// Off is why there are no Peers. It is empty if there are.
	Off string
	// RouterID is an IPv4 address, also on a node that has none of its own.
	RouterID netip.Addr
	// ListenPort for incoming sessions.
	ListenPort uint16
	// ListenOn are the addresses of the node to listen on; none is all of them.
	ListenOn []netip.Addr
	// Peers, sorted by Addr, one for each address.
	Peers []Peer
	// Announce are the destinations on this node, sorted. The next hop is the session's own address.
	Announce []netip.Prefix
	// PassOn are the pools, sorted, whose learned routes are announced to other peers as well, as a route
	// reflector does. Without any, Announce is all that leaves the node.
	PassOn []netip.Prefix
	// Pools are the networks of the pools, sorted. Within them, what peers may announce is limited.
	Pools []netip.Prefix
	// Confirmed are the destinations that IPAM has on a node, sorted, by the Node of peers that are not Reflectors.
	Confirmed map[string][]netip.Prefix
	// Advertisements add communities to what is sent to any peer, before its Export is asked.
	Advertisements []wire.BGPAdvertisement
}

// Peer is a session of the stream, or of the node-to-node mesh, with what only this node knows of it. Its Port and
// MaxRestartSeconds are set, also where the stream leaves them to the speaker; the name of a session of the mesh is
// "Mesh_<node>". Two Peers that differ only in Name and Global are the same session. The family of Addr is the family
// of the routes exchanged. Within the pools, the Node at the other end may announce what Config.Confirmed has; outside
// the pools, what Import accepts.
type Peer struct {
	wire.BGPPeer
	// LocalAddr is the node's own end; the zero Addr leaves it to the kernel.
	LocalAddr netip.Addr
	// Mesh marks a session of the node-to-node mesh.
	Mesh bool
	// Reflector is set if Node passes on what others announce. Confirmed does not apply to it.
	Reflector bool
	// MaxPrefixes is how many routes the peer may announce; with one more the session is closed for a while. 0 is any
	// number.
	MaxPrefixes uint32
}

// Route is the best way, or several equally good ones, to a destination that a peer announced.
type Route struct {
	Dst netip.Prefix
	// NextHops are sorted, at least one, of Dst's family.
	NextHops []netip.Addr
	// Peer is the address of the peer of the best path.
	Peer netip.Addr
}

// State is a session's state as RFC 4271 section 8.2.2 names it, in Calico's spelling.
type State string

// The states.
const (
	Idle        State = "Idle"
	Connect     State = "Connect"
	Active      State = "Active"
	OpenSent    State = "OpenSent"
	OpenConfirm State = "OpenConfirm"
	Established State = "Established"
)

// PeerStatus is the state of one session.
type PeerStatus struct {
	Name     string     `json:"name"`
	Addr     netip.Addr `json:"peerIP"`
	ASNumber uint32     `json:"asNumber"`
	// Type is NodeMesh or BGPPeer, as the CalicoNodeStatus resource says where a route is from.
	Type  string `json:"type"`
	State State  `json:"state"`
	// Since is when State was reached.
	Since time.Time `json:"since"`
	// Imported is the number of routes that the peer announces, without loops, but with those that the import policy
	// refuses.
	Imported uint64 `json:"routesImported"`
	// Error is why the session is kept closed. It is empty if it is not.
	Error string `json:"error,omitempty"`
}

// Status is the state of a speaker. The zero value is that of one that is off.
type Status struct {
	ASNumber uint32     `json:"asNumber,omitempty"`
	RouterID netip.Addr `json:"routerID,omitzero"`
	// Off is why the speaker does not run although the node has an AS number.
	Off string `json:"off,omitempty"`
	// Started is when the speaker was started, Configured when its configuration last changed.
	Started    time.Time `json:"started,omitzero"`
	Configured time.Time `json:"configured,omitzero"`
	// Synced: since the start every peer of a configuration with peers has sent its End-of-RIB, or the deferral
	// time after the first configuration is over. Before it, a route that is missing from
	// Routes may only not have been learned yet.
	Synced bool `json:"synced"`
	// Peers are sorted by address.
	Peers []PeerStatus `json:"peers,omitempty"`
	// Routes is the number of destinations learned.
	Routes int `json:"routes"`
	// Error is what the last configuration could not be applied for; empty when it was.
	Error string `json:"error,omitempty"`
}
