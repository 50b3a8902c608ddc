package calc

import (
	"maps"
	"net/netip"

	"github.com/maneki-net/maneki/typha/wire"
)

// The defaults of BGPConfiguration, as Calico documents them.
const (
	defaultASNumber   = 64512
	defaultListenPort = 179
)

// bgpState holds what the BGP objects of the nodes are resolved from.
type bgpState struct {
	configurations map[string]*bgpConfiguration // "default" and "node.<name>"
	peers          map[string]*bgpPeer
	filters        map[string]*bgpFilter
	dirty          map[string]struct{} // nodes to resolve again
	// dirtyAddrs are those of BGPPeers; nodes that have one of them are to be resolved again.
	dirtyAddrs map[netip.Addr]struct{}
	allDirty   bool
}

// host is a node: what every node is told of it, and its labels, which choose its sessions and nobody else is told.
type host struct {
	*wire.Host
	labels map[string]string
}

func (h *host) has(a netip.Addr) bool { return h.IPv4.Addr() == a || h.IPv6.Addr() == a }

func newBGPState() bgpState {
	return bgpState{configurations: map[string]*bgpConfiguration{}, peers: map[string]*bgpPeer{},
		filters: map[string]*bgpFilter{}, dirty: map[string]struct{}{}, dirtyAddrs: map[netip.Addr]struct{}{}}
}

// setHost takes in a node's addresses, labels and annotations; nil when it is gone.
func (e *Engine) setHost(name string, h *host) {
	before := e.hosts[name]
	if h == nil {
		delete(e.hosts, name)
	} else {
		if before != nil && equal(before.Host, h.Host) && maps.Equal(before.labels, h.labels) {
			return
		}
		e.hosts[name] = h
	}
	e.bgp.dirty[name] = struct{}{}
	e.dirtySessionsWith(before)
	e.dirtySessionsWith(h)
}

// dirtySessionsWith has the nodes resolved again whose sessions depend on what a node is.
func (e *Engine) dirtySessionsWith(h *host) {
	if h == nil {
		return
	}
	for _, p := range e.bgp.peers {
		switch {
		case p.remote != nil || h.has(p.addr.Addr()):
			e.bgp.allDirty = true
		case p.node(h):
			e.bgp.dirtyAddrs[p.addr.Addr()] = struct{}{} // a node with that address is the other end
		}
	}
}

func (e *Engine) flushBGP() {
	if len(e.bgp.dirty)+len(e.bgp.dirtyAddrs) == 0 && !e.bgp.allDirty {
		return
	}
	for name, h := range e.hosts {
		_, v4 := e.bgp.dirtyAddrs[h.IPv4.Addr()]
		_, v6 := e.bgp.dirtyAddrs[h.IPv6.Addr()]
		if e.bgp.allDirty || v4 || v6 {
			e.bgp.dirty[name] = struct{}{}
		}
	}
	for name := range e.bgp.dirty {
		h := e.hosts[name]
		if h == nil {
			continue
		}
		if port := e.bgpPort(name); port != h.BGPPort {
			moved := *h.Host
			moved.BGPPort = port
			e.hosts[name] = &host{&moved, h.labels}
			e.out.set(&moved)
		}
	}
	sessions := e.newSessions() // of the hosts as they are now
	if e.bgp.allDirty {
		for _, p := range e.bgp.peers {
			e.judgeBGPPeer(p, sessions)
		}
	}
	for name := range e.bgp.dirty {
		if h := e.hosts[name]; h != nil {
			e.setNodeObject(name, e.resolveBGP(h, sessions))
		} else {
			e.removeNodeObject(name, wire.ID{Kind: wire.KindBGP, Name: name})
		}
	}
	clear(e.bgp.dirty)
	clear(e.bgp.dirtyAddrs)
	e.bgp.allDirty = false
}

// bgpSetting returns a setting of the node's BGPConfiguration, or else of the default one.
func bgpSetting[T any](e *Engine, node string, fallback T, get func(*bgpConfiguration) *T) T {
	for _, name := range []string{"node." + node, "default"} {
		if c := e.bgp.configurations[name]; c != nil {
			if v := get(c); v != nil {
				return *v
			}
		}
	}
	return fallback
}

// listenPort is where a node's speaker listens.
func (e *Engine) listenPort(node string) uint16 {
	return uint16(bgpSetting(e, node, defaultListenPort, func(c *bgpConfiguration) *int { return c.ListenPort }))
}

// bgpPort is listenPort, or 0 for the default.
func (e *Engine) bgpPort(node string) uint16 {
	if port := e.listenPort(node); port != defaultListenPort {
		return port
	}
	return 0
}

// asNumber returns a node's AS number: its own, or that of its configuration.
func (e *Engine) asNumber(h *host) uint32 {
	if h.ASNumber != 0 {
		return h.ASNumber
	}
	return bgpSetting(e, h.Name, defaultASNumber, func(c *bgpConfiguration) *uint32 { return c.ASNumber })
}

// setString is a setting that is a text; the empty one is not set.
func setString(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (e *Engine) resolveBGP(h *host, sessions *sessions) *wire.BGP {
	out := &wire.BGP{Node: h.Name, ASNumber: e.asNumber(h), ListenPort: e.listenPort(h.Name)}
	out.Peers, out.Barred = sessions.of(h)
	out.Mesh = bgpSetting(e, h.Name, true, func(c *bgpConfiguration) *bool { return c.NodeToNodeMeshEnabled })
	if bgpSetting(e, h.Name, false, func(c *bgpConfiguration) *bool { return c.meshPassword }) {
		out.Mesh = false // rather than without the password
	}
	out.MeshMaxRestartSeconds = bgpSetting(e, h.Name, 0, func(c *bgpConfiguration) *uint32 { return c.meshRestart })
	program := bgpSetting(e, h.Name, "", func(c *bgpConfiguration) *string { return setString(c.ProgramClusterRoutes) })
	// In these modes BGP leaves the routes of pools without encapsulation alone, so Felix has to
	// program them.
	out.ProgramClusterRoutes = program == "Disabled" || program == "EnabledIPIPOnly"
	out.BindNodeIP = bgpSetting(e, h.Name, "", func(c *bgpConfiguration) *string { return setString(c.BindMode) }) == "NodeIP"
	out.Advertisements = bgpSetting(e, h.Name, nil, func(c *bgpConfiguration) *[]wire.BGPAdvertisement {
		if len(c.PrefixAdvertisements) == 0 {
			return nil
		}
		return &c.advertisements
	})
	return out
}
