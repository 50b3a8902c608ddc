package wire

import "net/netip"

// BGP is one node's BGP configuration. Mesh peers are not listed: they follow from the Hosts.
type BGP struct {
	Node       string    `cbor:"1,keyasint"`
	ASNumber   uint32    `cbor:"2,keyasint"`
	ListenPort uint16    `cbor:"3,keyasint"`
	Mesh       bool      `cbor:"4,keyasint,omitempty"` // node-to-node mesh enabled
	Peers      []BGPPeer `cbor:"5,keyasint,omitempty"` // sorted by Name
	// ProgramClusterRoutes: Felix programs the routes between nodes from the stream, also for
	// pools without encapsulation; otherwise BGP does so.
	ProgramClusterRoutes bool `cbor:"6,keyasint,omitempty"`
	// MeshMaxRestartSeconds is how long the nodes of the mesh are asked to keep this node's routes
	// while its speaker restarts; 0 is the speaker's default.
	MeshMaxRestartSeconds uint32 `cbor:"7,keyasint,omitempty"`
	// BindNodeIP: the speaker listens on the node's own addresses instead of on all.
	BindNodeIP bool `cbor:"8,keyasint,omitempty"`
	// Advertisements add communities to whatever the node sends.
	Advertisements []BGPAdvertisement `cbor:"9,keyasint,omitempty"`
	// Barred, sorted, are addresses with which no session may be opened, also not one of the mesh: it is to have a
	// password, and there is none.
	Barred []netip.Addr `cbor:"10,keyasint,omitempty"`
}

// ID of the node's BGP configuration.
func (b *BGP) ID() ID { return ID{KindBGP, b.Node} }

// BGPAdvertisement adds communities, written as in BGPRule, to the routes to networks within CIDR, CIDR included.
type BGPAdvertisement struct {
	CIDR        netip.Prefix `cbor:"1,keyasint"`
	Communities []string     `cbor:"2,keyasint"`
}

// BGPPeer is one session to open. Name is the BGPPeer resource's, with the
// peer node's appended where a selector yields several.
type BGPPeer struct {
	Name               string     `cbor:"1,keyasint"`
	Addr               netip.Addr `cbor:"2,keyasint"`
	Port               uint16     `cbor:"3,keyasint,omitempty"` // 0 is 179
	ASNumber           uint32     `cbor:"4,keyasint"`
	LocalASNumber      uint32     `cbor:"5,keyasint,omitempty"`
	KeepNextHop        bool       `cbor:"6,keyasint,omitempty"`
	RouteReflectorPeer bool       `cbor:"7,keyasint,omitempty"` // the peer is our client
	ClusterID          string     `cbor:"8,keyasint,omitempty"`
	TTLSecurity        uint8      `cbor:"9,keyasint,omitempty"`
	MaxRestartSeconds  uint32     `cbor:"10,keyasint,omitempty"` // as BGP.MeshMaxRestartSeconds
	// KeepaliveSeconds between keepalive messages, a third of the hold time; 0 is the speaker's default.
	KeepaliveSeconds uint32 `cbor:"11,keyasint,omitempty"`
	// Import and Export are the rules of the session's BGPFilters, for routes of Addr's family. The first rule that
	// matches decides; what none matches, the speaker's own rules decide.
	Import []BGPRule `cbor:"12,keyasint,omitempty"`
	Export []BGPRule `cbor:"13,keyasint,omitempty"`
	// NextHopSelf: every route that is sent has the node as next hop.
	NextHopSelf bool `cbor:"14,keyasint,omitempty"`
	// AllowedLocalAS is how often our own AS number may be in the path of a route that the peer sends.
	AllowedLocalAS uint8 `cbor:"15,keyasint,omitempty"`
	// AnySource: our end has the address that the kernel chooses, not the node's.
	AnySource bool `cbor:"16,keyasint,omitempty"`
	// Node is the cluster's node at the other end; empty is a router outside.
	Node string `cbor:"17,keyasint,omitempty"`
	// Global: the BGPPeer is for every node.
	Global bool `cbor:"18,keyasint,omitempty"`
}

// BGPRule accepts or rejects routes. Every part that is set must match.
type BGPRule struct {
	Reject bool `cbor:"1,keyasint,omitempty"`
	// CIDR, if valid, contains the route's network, whose prefix length is MinLength to MaxLength; with NotCIDR it is
	// not so.
	CIDR      netip.Prefix `cbor:"2,keyasint,omitempty"`
	MinLength uint8        `cbor:"3,keyasint,omitempty"`
	MaxLength uint8        `cbor:"4,keyasint,omitempty"`
	NotCIDR   bool         `cbor:"5,keyasint,omitempty"`
	// Learned matches routes that came from a peer.
	Learned bool `cbor:"6,keyasint,omitempty"`
	// ASPathPrefix is what the AS path begins with.
	ASPathPrefix []uint32 `cbor:"7,keyasint,omitempty"`
	// Community is one that the route carries: two numbers joined by a colon (RFC 1997) or three (RFC 8092).
	Community string `cbor:"8,keyasint,omitempty"`
	// AddCommunities and PrependASPath change a route that is accepted. The path then begins with PrependASPath.
	AddCommunities []string `cbor:"9,keyasint,omitempty"`
	PrependASPath  []uint32 `cbor:"10,keyasint,omitempty"`
}
