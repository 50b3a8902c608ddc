// Package bgp computes each node's BGP configuration from BGPConfigurations, BGPPeers, BGPFilters and the nodes.
//
// A Resolver owns these resources as a node's sessions need them. The engine gives it resources by method and calls
// Flush, which returns the wire.BGP objects that changed. What a node's speaker makes of its object is the matter of
// the module's package bgp, on the node.
//
// The package is pure: it has no I/O, clock, goroutine or logger, and it never reads a Secret. A Resolver belongs to
// one goroutine, the engine's.
package bgp

import (
	"maps"
	"net/netip"
	"reflect"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// The names of the BGPConfigurations that apply: that of all nodes, and the beginning of the name of one node's.
const (
	ofAllNodes = "default"
	ofNode     = "node."
)

// defaultListenPort is the default of BGPConfiguration, as Calico documents it.
const defaultListenPort = 179

// Resolver computes the BGP configurations of all nodes. The zero value is not usable; New returns an empty one.
type Resolver struct {
	nodes          map[string]*node
	configurations map[string]*configuration // "default" and "node.NAME"
	peers          map[string]*peer
	filters        map[string]*filter

	// What Flush has to resolve again: everything, or these nodes and the nodes with one of these addresses.
	allChanged   bool
	changed      map[string]struct{}
	changedAddrs map[netip.Addr]struct{}
}

// node is a node with the labels by which BGPPeers select it.
type node struct {
	*wire.Host
	labels map[string]string
	object *wire.BGP // as Flush returned it last; nil before the first Flush
	port   uint16    // likewise; 0 is the default
}

// has reports whether the node has an address.
func (n *node) has(a netip.Addr) bool { return n.IPv4.Addr() == a || n.IPv6.Addr() == a }

// New returns a Resolver without nodes and resources.
func New() *Resolver {
	return &Resolver{
		nodes:          map[string]*node{},
		configurations: map[string]*configuration{},
		peers:          map[string]*peer{},
		filters:        map[string]*filter{},
		changed:        map[string]struct{}{},
		changedAddrs:   map[netip.Addr]struct{}{},
	}
}

// Size returns how many nodes and resources the Resolver holds.
func (r *Resolver) Size() int {
	return len(r.nodes) + len(r.configurations) + len(r.peers) + len(r.filters)
}

// Changes is what Flush returns.
type Changes struct {
	// Objects are the configurations that are new or differ, by node, and nil for a node that is gone.
	Objects map[string]*wire.BGP
	// Ports are the nodes whose speaker listens on another port now; 0 is the default. Other nodes learn it from the
	// wire.Host.
	Ports map[string]uint16
	// Problems says of each BGPPeer that Flush resolved again which of its settings have no effect; empty: all have.
	Problems map[string]string
}

// SetNode adds a node or changes its addresses, AS number, cluster id or labels. The Resolver stores labels,
// and ignores host.BGPPort.
func (r *Resolver) SetNode(host *wire.Host, labels map[string]string) {
	own := *host
	own.BGPPort = 0
	now := &node{Host: &own, labels: labels}
	before := r.nodes[host.Name]
	if before != nil {
		if *before.Host == own && maps.Equal(before.labels, labels) {
			return
		}
		now.object, now.port = before.object, before.port
	}
	r.nodes[host.Name] = now
	r.nodeChanged(before, now)
}

// DeleteNode removes a node.
func (r *Resolver) DeleteNode(name string) {
	before := r.nodes[name]
	if before == nil {
		return
	}
	delete(r.nodes, name)
	r.nodeChanged(before)
}

func (r *Resolver) nodeChanged(states ...*node) {
	for _, n := range states {
		if n != nil {
			r.changed[n.Name] = struct{}{}
			r.farEndsChanged(n)
		}
	}
}

// farEndsChanged makes Flush resolve the nodes again that have sessions with a node.
func (r *Resolver) farEndsChanged(n *node) {
	for _, p := range r.peers {
		switch {
		case p.remote != nil || n.has(p.addr.Addr()):
			r.allChanged = true
		case p.node(n):
			r.changedAddrs[p.addr.Addr()] = struct{}{} // a node with that address is the far end
		}
	}
}

// Flush returns what changed since the last Flush.
func (r *Resolver) Flush() Changes {
	var changes Changes
	if len(r.changed)+len(r.changedAddrs) == 0 && !r.allChanged {
		return changes
	}
	for name, n := range r.nodes {
		_, v4 := r.changedAddrs[n.IPv4.Addr()]
		_, v6 := r.changedAddrs[n.IPv6.Addr()]
		if r.allChanged || v4 || v6 {
			r.changed[name] = struct{}{}
		}
	}
	sessions := r.newSessions()
	if r.allChanged {
		changes.Problems = map[string]string{}
		for name, p := range r.peers {
			changes.Problems[name] = r.problems(p, sessions)
		}
	}
	changes.Objects, changes.Ports = map[string]*wire.BGP{}, map[string]uint16{}
	for name := range r.changed {
		n := r.nodes[name]
		if n == nil {
			changes.Objects[name] = nil
			continue
		}
		if port := r.hostPort(name); port != n.port {
			n.port, changes.Ports[name] = port, port
		}
		if object := r.resolve(n, sessions); !reflect.DeepEqual(object, n.object) {
			n.object, changes.Objects[name] = object, object
		}
	}
	clear(r.changed)
	clear(r.changedAddrs)
	r.allChanged = false
	return changes
}

// resolve returns the configuration of a node.
func (r *Resolver) resolve(n *node, sessions *sessions) *wire.BGP {
	out := &wire.BGP{Node: n.Name, ASNumber: r.asNumber(n), ListenPort: r.listenPort(n.Name)}
	out.Peers, out.Barred = sessions.of(n)
	out.Mesh = setting(r, n.Name, true, func(c *configuration) *bool { return c.NodeToNodeMeshEnabled })
	if setting(r, n.Name, false, func(c *configuration) *bool { return c.meshPassword }) {
		out.Mesh = false // no session is opened without the password that it should have
	}
	out.MeshMaxRestartSeconds = setting(r, n.Name, 0, func(c *configuration) *uint32 { return c.meshRestart })
	program := setting(r, n.Name, "", func(c *configuration) *string { return nonEmpty(c.ProgramClusterRoutes) })
	// In these modes BGP leaves the routes of pools without encapsulation alone, so Felix has to program them.
	out.ProgramClusterRoutes = program == "Disabled" || program == "EnabledIPIPOnly"
	out.BindNodeIP = setting(r, n.Name, "", func(c *configuration) *string { return nonEmpty(c.BindMode) }) == "NodeIP"
	out.Advertisements = setting(r, n.Name, nil, func(c *configuration) *[]wire.BGPAdvertisement {
		if len(c.PrefixAdvertisements) == 0 {
			return nil
		}
		return &c.advertisements
	})
	return out
}

// setting returns a setting of the node's own BGPConfiguration, else of the default one, else the fallback. get returns
// nil if a BGPConfiguration does not set it.
func setting[T any](r *Resolver, node string, fallback T, get func(*configuration) *T) T {
	for _, name := range []string{ofNode + node, ofAllNodes} {
		if c := r.configurations[name]; c != nil {
			if v := get(c); v != nil {
				return *v
			}
		}
	}
	return fallback
}

// nonEmpty returns nil for the empty text, which is no setting.
func nonEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// listenPort returns the port on which a node's speaker listens.
func (r *Resolver) listenPort(node string) uint16 {
	return uint16(setting(r, node, defaultListenPort, func(c *configuration) *int { return c.ListenPort }))
}

// hostPort returns the listenPort as other nodes learn it: 0 for the default.
func (r *Resolver) hostPort(node string) uint16 {
	if port := r.listenPort(node); port != defaultListenPort {
		return port
	}
	return 0
}

// asNumber returns a node's own AS number, else that of its BGPConfiguration.
func (r *Resolver) asNumber(n *node) uint32 {
	if n.ASNumber != 0 {
		return n.ASNumber
	}
	return setting(r, n.Name, v3.DefaultASNumber, func(c *configuration) *uint32 { return c.ASNumber })
}
