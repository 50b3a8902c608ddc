// Package wire defines what a node receives: the objects that the calculation engine
// makes from the cluster's resources, and their canonical encoding.
//
// The types are plain values. One that has been handed out is immutable: engine, hub,
// sessions and Felix share it without copying. They are encoded as deterministic CBOR
// (RFC 8949 section 4.2) with integer keys; unknown keys are ignored on decoding and a
// key is never reused, which is the compatibility rule between releases. The package
// does no I/O and starts no goroutine.
package wire

import (
	"cmp"
	"crypto/sha1" // for a name; nothing is secured by it
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/maneki-net/maneki/api/encap"
)

// Kind is the kind of an Object. The numbers are part of the protocol, and their order
// is the order in which it is safe to add objects: what is named comes before what names it.
type Kind uint8

// The kinds of objects.
const (
	KindConfig Kind = iota + 1
	KindPool
	KindHost
	KindTunnelEndpoint
	KindRoute
	KindBGP
	KindIPSet
	KindPolicy
	KindEndpoint
	KindHostEndpoint
	KindNode
	KindIPAM
	KindStatusRequest
)

// String returns the kind's name, for messages.
func (k Kind) String() string {
	names := [...]string{"", "Config", "Pool", "Host", "TunnelEndpoint", "Route", "BGP", "IPSet", "Policy", "Endpoint",
		"HostEndpoint", "Node", "IPAM", "StatusRequest"}
	if int(k) < len(names) && k > 0 {
		return names[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// ID names one object.
type ID struct {
	Kind Kind   `cbor:"1,keyasint"`
	Name string `cbor:"2,keyasint"`
}

// String returns Kind/name.
func (id ID) String() string { return id.Kind.String() + "/" + id.Name }

// Compare compares by kind, then by name. In this order, what an object names comes before the object.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Kind, other.Kind), strings.Compare(id.Name, other.Name))
}

// Object is one of the types of this package that has an ID.
type Object interface {
	ID() ID
}

// Encap says how packets between two nodes travel.
type Encap uint8

// The encapsulation modes of a pool.
const (
	EncapNever       Encap = iota // as they are
	EncapAlways                   // in the tunnel
	EncapCrossSubnet              // in the tunnel only when the nodes' addresses are in different subnets
)

// Config holds Felix settings of one level: Name "global" for all nodes, "node.<name>" for one
// node, whose values win. Values are keyed by the setting's name as in the FelixConfiguration
// resource with a capital first letter ("VXLANPort"), in the text form of the FELIX_ variables.
type Config struct {
	Name   string            `cbor:"1,keyasint"`
	Values map[string]string `cbor:"2,keyasint,omitempty"`
}

// ID of the configuration level.
func (c *Config) ID() ID { return ID{KindConfig, c.Name} }

// Pool is an IP pool as nodes need it. Name is the IPPool's name.
type Pool struct {
	Name        string       `cbor:"1,keyasint"`
	CIDR        netip.Prefix `cbor:"2,keyasint"`
	BlockSize   int          `cbor:"3,keyasint"` // prefix length of a block
	VXLAN       Encap        `cbor:"4,keyasint,omitempty"`
	IPIP        Encap        `cbor:"5,keyasint,omitempty"`
	NATOutgoing bool         `cbor:"6,keyasint,omitempty"`
	Disabled    bool         `cbor:"7,keyasint,omitempty"` // no new addresses
	// NodeSelector as in the IPPool; empty is all().
	NodeSelector      string   `cbor:"8,keyasint,omitempty"`
	AllowedUses       []string `cbor:"9,keyasint,omitempty"`  // Workload, Tunnel; empty is both
	Manual            bool     `cbor:"10,keyasint,omitempty"` // assignmentMode Manual: only on request
	DisableBGPExport  bool     `cbor:"11,keyasint,omitempty"`
	NamespaceSelector string   `cbor:"12,keyasint,omitempty"`
	// Closed is why a pool is Disabled although its resource does not say so.
	Closed string `cbor:"13,keyasint,omitempty"`
}

// Encap returns when packets to the pool's addresses travel in a kind of tunnel.
func (p *Pool) Encap(kind encap.Kind) Encap {
	switch kind {
	case encap.VXLAN:
		return p.VXLAN
	case encap.IPIP:
		return p.IPIP
	}
	return EncapNever
}

// ID of the pool.
func (p *Pool) ID() ID { return ID{KindPool, p.Name} }

// Host is what every node is told of a node: its addresses, and, for the mesh of BGP, its speaker. A zero Prefix means
// that the node has none of that family. The prefix is the address with the length of its subnet.
type Host struct {
	Name string       `cbor:"1,keyasint"`
	IPv4 netip.Prefix `cbor:"2,keyasint,omitempty"`
	IPv6 netip.Prefix `cbor:"3,keyasint,omitempty"`
	// ASNumber is 0 for the cluster's default.
	ASNumber uint32 `cbor:"4,keyasint,omitempty"` // key 5 was labels
	// RouteReflectorClusterID as in the annotation; empty for a node that is none. A reflector is in nobody's mesh.
	RouteReflectorClusterID string `cbor:"6,keyasint,omitempty"`
	// BGPPort is where the node's speaker listens; 0 is 179.
	BGPPort uint16 `cbor:"7,keyasint,omitempty"`
}

// ID of the host.
func (h *Host) ID() ID { return ID{KindHost, h.Name} }

// Node is what only the node itself is told of it. The nodeSelectors of Pools are about Labels.
type Node struct {
	Name   string            `cbor:"1,keyasint"`
	Labels map[string]string `cbor:"2,keyasint,omitempty"`
}

// IPAM is what every node is told of the assignment of addresses beside the Pools. There is at most one.
type IPAM struct {
	// Reserved are the networks whose addresses are assigned only to who asks for the very address. They are sorted and
	// do not overlap.
	Reserved []netip.Prefix `cbor:"1,keyasint,omitempty"`
	// Cooldown is how many seconds a released address is not assigned again.
	Cooldown uint32 `cbor:"2,keyasint,omitempty"`
}

// ID of the only IPAM.
func (*IPAM) ID() ID { return ID{KindIPAM, "default"} }

// ID of the node.
func (n *Node) ID() ID { return ID{KindNode, n.Name} }

// TunnelEndpoint is a node's end of the tunnels of one kind and family. A node ignores endpoints of a kind that it does
// not support.
type TunnelEndpoint struct {
	Node string `cbor:"1,keyasint"`
	// Addr is the address of the tunnel device. Its family is that of the packets inside the tunnel.
	Addr netip.Addr `cbor:"2,keyasint"`
	// MAC is the device's MAC address, 6 octets. It is empty if the tunnel carries no Ethernet frames.
	MAC []byte `cbor:"3,keyasint,omitempty"`
	// Outer is the address that the other nodes send the tunnel's packets to. Its family may be another one than
	// Addr's.
	Outer netip.Addr `cbor:"4,keyasint"`
	Kind  encap.Kind `cbor:"5,keyasint"`
}

// ID of the endpoint.
func (t *TunnelEndpoint) ID() ID {
	family := uint8(6)
	if t.Addr.Is4() {
		family = 4
	}
	return TunnelEndpointID(t.Node, t.Kind, family)
}

// TunnelEndpointID names a node's endpoint of a kind and of the family, 4 or 6, of the packets inside the tunnel.
func TunnelEndpointID(node string, kind encap.Kind, family uint8) ID {
	return ID{KindTunnelEndpoint, fmt.Sprintf("%s/%s/%d", node, kind, family)}
}

// TunnelMAC returns the MAC address of a node's VXLAN device of a family, 4 or 6. It is derived from the node's name as
// in Calico. So it stays the same when the device is made again, and nodes that run Calico and nodes that run Maneki
// can reach each other during a migration.
func TunnelMAC(node string, family uint8) net.HardwareAddr {
	if family == 6 {
		node += "-v6"
	}
	sum := sha1.Sum([]byte(node))
	return append(net.HardwareAddr{'f'}, sum[:5]...) // local and unicast, as the letter's bits have it
}

// Route says which node a block, or an address borrowed from another node's block,
// is on. The receiver decides by Pool and Hosts how to reach it.
type Route struct {
	Dst  netip.Prefix `cbor:"1,keyasint"`
	Node string       `cbor:"2,keyasint"`
	// Pool names the Pool that contains Dst.
	Pool string `cbor:"3,keyasint,omitempty"` // key 4 was whether the address is borrowed
}

// ID of the route; a destination has one owner.
func (r *Route) ID() ID { return ID{KindRoute, r.Dst.String()} }
