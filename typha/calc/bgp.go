package calc

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// The defaults of BGPConfiguration, as Calico documents them.
const (
	defaultASNumber   = 64512
	defaultListenPort = 179
)

// bgpState holds what the BGP objects of the nodes are resolved from.
type bgpState struct {
	configurations map[string]*v3.BGPConfigurationSpec // "default" and "node.<name>"
	peers          map[string]*bgpPeer
	filters        map[string]*bgpFilter
	dirty          map[string]struct{} // nodes to resolve again
	allDirty       bool
}

// host is a node: what every node is told of it, and its labels, which choose its sessions and nobody else is told.
type host struct {
	*wire.Host
	labels map[string]string
}

// bgpPeer is a BGPPeer in use.
type bgpPeer struct {
	name    string
	spec    *v3.BGPPeerSpec
	node    func(*host) bool // which nodes open the sessions
	remote  func(*host) bool // the peers, where they are nodes
	addr    netip.AddrPort   // the peer, where it is an address; port 0 is the default
	restart time.Duration
	// keepalive is whole seconds; 0 is the default.
	keepalive time.Duration
}

func newBGPState() bgpState {
	return bgpState{configurations: map[string]*v3.BGPConfigurationSpec{}, peers: map[string]*bgpPeer{},
		filters: map[string]*bgpFilter{}, dirty: map[string]struct{}{}}
}

func (e *Engine) upsertBGPConfiguration(o *v3.BGPConfiguration) {
	reason := ""
	if _, err := seconds(o.Spec.NodeMeshMaxRestartTime); err != nil {
		reason = "spec.nodeMeshMaxRestartTime: " + err.Error() // everything else of it still holds
	}
	e.judge(KindBGPConfiguration, "", o.Name, reason)
	e.bgp.configurations[o.Name] = &o.Spec
	e.dirtyBGP(o.Name)
}

func (e *Engine) deleteBGPConfiguration(name string) {
	delete(e.bgp.configurations, name)
	e.dirtyBGP(name)
}

func (e *Engine) dirtyBGP(configuration string) {
	if node, ok := strings.CutPrefix(configuration, "node."); ok && !e.bgp.anySelectsNodes() {
		e.bgp.dirty[node] = struct{}{}
	} else {
		e.bgp.allDirty = true // AS numbers decide the sessions between nodes
	}
}

func (b *bgpState) anySelectsNodes() bool {
	for _, p := range b.peers {
		if p.remote != nil {
			return true
		}
	}
	return false
}

func (e *Engine) upsertBGPPeer(o *v3.BGPPeer) {
	p, err := bgpPeerOf(o)
	if err != nil {
		e.deleteBGPPeer(o.Name)
		e.judge(KindBGPPeer, "", o.Name, err.Error())
		return
	}
	e.judge(KindBGPPeer, "", o.Name, "")
	e.bgp.peers[o.Name] = p
	e.bgp.allDirty = true
}

func (e *Engine) deleteBGPPeer(name string) {
	if e.bgp.peers[name] != nil {
		delete(e.bgp.peers, name)
		e.bgp.allDirty = true
	}
}

func bgpPeerOf(o *v3.BGPPeer) (*bgpPeer, error) {
	spec := &o.Spec
	p := &bgpPeer{name: o.Name, spec: spec}
	var err error
	switch {
	case spec.Node != "" && spec.NodeSelector != "":
		return nil, fmt.Errorf("spec.node and spec.nodeSelector exclude each other")
	case spec.Node != "":
		p.node = func(h *host) bool { return h.Name == spec.Node }
	case spec.NodeSelector != "":
		if p.node, err = hostSelector(spec.NodeSelector); err != nil {
			return nil, fmt.Errorf("spec.nodeSelector: %w", err)
		}
	default:
		p.node = func(*host) bool { return true }
	}
	switch {
	case (spec.PeerIP == "") == (spec.PeerSelector == ""):
		return nil, fmt.Errorf("exactly one of spec.peerIP and spec.peerSelector has to be set")
	case spec.PeerSelector != "":
		if p.remote, err = hostSelector(spec.PeerSelector); err != nil {
			return nil, fmt.Errorf("spec.peerSelector: %w", err)
		}
	default:
		if p.addr, err = parsePeerIP(spec.PeerIP); err != nil {
			return nil, fmt.Errorf("spec.peerIP: %w", err)
		}
	}
	if p.restart, err = seconds(spec.MaxRestartTime); err != nil {
		return nil, fmt.Errorf("spec.maxRestartTime: %w", err)
	}
	if p.keepalive, err = seconds(spec.KeepaliveTime); err != nil {
		return nil, fmt.Errorf("spec.keepaliveTime: %w", err)
	}
	if hops := spec.TTLSecurity; hops != nil && (*hops < 0 || *hops > 255) {
		return nil, fmt.Errorf("spec.ttlSecurity: %d is not within 0 to 255", *hops)
	}
	return p, nil
}

// seconds reads a duration; no text is 0, the default.
func seconds(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 120s", text)
	}
	return d, nil
}

// hostSelector compiles a selector on the labels of nodes.
func hostSelector(text string) (func(*host) bool, error) {
	s, err := expression.Parse(text)
	if err != nil {
		return nil, err
	}
	return func(h *host) bool { return s.Matches(h.labels) }, nil
}

// parsePeerIP reads an address with or without a port, "10.0.0.1:1790" or "[fd00::1]:1790".
func parsePeerIP(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	p, err := netip.ParseAddrPort(text)
	if err != nil || p.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address such as 172.31.0.1 or [fd00::1]:1790", text)
	}
	return p, nil
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
	for _, p := range e.bgp.peers {
		if p.concerns(before) || p.concerns(h) {
			e.bgp.allDirty = true
		}
	}
}

// concerns says whether the sessions of other nodes depend on what this one is.
func (p *bgpPeer) concerns(h *host) bool {
	return h != nil && (p.remote != nil || h.IPv4.Addr() == p.addr.Addr() || h.IPv6.Addr() == p.addr.Addr())
}

func (e *Engine) flushBGP() {
	if e.bgp.allDirty {
		for name := range e.hosts {
			e.bgp.dirty[name] = struct{}{}
		}
	}
	for name := range e.bgp.dirty {
		if h := e.hosts[name]; h != nil {
			if port := e.bgpPort(name); port != h.BGPPort {
				moved := *h.Host
				moved.BGPPort = port
				h = &host{&moved, h.labels}
				e.hosts[name] = h
				e.out.set(h.Host)
			}
			e.setNodeObject(name, e.resolveBGP(h))
		} else {
			e.removeNodeObject(name, wire.ID{Kind: wire.KindBGP, Name: name})
		}
	}
	e.bgp.dirty = map[string]struct{}{}
	e.bgp.allDirty = false
}

// bgpSetting gives a setting of the node's BGPConfiguration, or else of the default one.
func bgpSetting[T any](e *Engine, node string, fallback T, get func(*v3.BGPConfigurationSpec) *T) T {
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
	return uint16(bgpSetting(e, node, defaultListenPort, func(c *v3.BGPConfigurationSpec) *int { return c.ListenPort }))
}

// bgpPort is listenPort, or 0 for the default.
func (e *Engine) bgpPort(node string) uint16 {
	if port := e.listenPort(node); port != defaultListenPort {
		return port
	}
	return 0
}

// asNumber gives a node's AS number: its own, or that of its configuration.
func (e *Engine) asNumber(h *host) uint32 {
	if h.ASNumber != 0 {
		return h.ASNumber
	}
	return bgpSetting(e, h.Name, defaultASNumber, func(c *v3.BGPConfigurationSpec) *uint32 { return c.ASNumber })
}

func (e *Engine) resolveBGP(h *host) *wire.BGP {
	out := &wire.BGP{Node: h.Name, ASNumber: e.asNumber(h), ListenPort: e.listenPort(h.Name)}
	out.Mesh = bgpSetting(e, h.Name, true, func(c *v3.BGPConfigurationSpec) *bool { return c.NodeToNodeMeshEnabled })
	out.MeshMaxRestartSeconds = bgpSetting(e, h.Name, 0, func(c *v3.BGPConfigurationSpec) *uint32 {
		restart, err := seconds(c.NodeMeshMaxRestartTime)
		if c.NodeMeshMaxRestartTime == "" || err != nil {
			return nil
		}
		whole := uint32(restart / time.Second)
		return &whole
	})
	program := bgpSetting(e, h.Name, "", func(c *v3.BGPConfigurationSpec) *string {
		if c.ProgramClusterRoutes == "" {
			return nil
		}
		text := string(c.ProgramClusterRoutes)
		return &text
	})
	// In these modes BGP leaves the routes of pools without encapsulation alone, so Felix has to
	// program them.
	out.ProgramClusterRoutes = program == "Disabled" || program == "EnabledIPIPOnly"
	for _, p := range e.bgp.peers {
		if p.node(h) {
			out.Peers = append(out.Peers, e.sessions(h, p, out.ASNumber)...)
		}
	}
	slices.SortFunc(out.Peers, func(a, b wire.BGPPeer) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// sessions gives the sessions that a peer resource means for a node.
func (e *Engine) sessions(h *host, p *bgpPeer, local uint32) []wire.BGPPeer {
	template := wire.BGPPeer{
		Name: p.name, Addr: p.addr.Addr(), Port: p.addr.Port(), ASNumber: p.spec.ASNumber,
		KeepNextHop:       p.spec.KeepOriginalNextHop || p.spec.NextHopMode == "Keep",
		MaxRestartSeconds: uint32(p.restart / time.Second),
		KeepaliveSeconds:  uint32(p.keepalive / time.Second),
	}
	if p.spec.LocalASNumber != nil {
		template.LocalASNumber = *p.spec.LocalASNumber
	}
	if p.spec.TTLSecurity != nil {
		template.TTLSecurity = uint8(*p.spec.TTLSecurity)
	}
	if p.remote == nil {
		if template.ASNumber == 0 {
			template.ASNumber = local
		}
		if h.RouteReflectorClusterID != "" {
			e.reflect(h, &template, local, e.hostWith(p.addr.Addr()))
		}
		e.filter(&template, p.spec.Filters, local)
		return []wire.BGPPeer{template}
	}
	var out []wire.BGPPeer
	for _, other := range e.hosts {
		if other.Name == h.Name || !p.remote(other) {
			continue
		}
		for _, pair := range [][2]netip.Prefix{{h.IPv4, other.IPv4}, {h.IPv6, other.IPv6}} {
			if !pair[0].IsValid() || !pair[1].IsValid() {
				continue
			}
			session := template
			session.Addr, session.ASNumber = pair[1].Addr(), e.asNumber(other)
			session.Port = e.bgpPort(other.Name)
			session.Name = fmt.Sprintf("%s/%s/%d", p.name, other.Name, familyOf(session.Addr))
			e.reflect(h, &session, local, other)
			e.filter(&session, p.spec.Filters, local)
			out = append(out, session)
		}
	}
	return out
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// hostWith gives the node that has an address, the first by name, or nil.
func (e *Engine) hostWith(a netip.Addr) *host {
	var found *host
	for _, h := range e.hosts {
		if (h.IPv4.Addr() == a || h.IPv6.Addr() == a) && (found == nil || h.Name < found.Name) {
			found = h
		}
	}
	return found
}

// reflect makes the peer a client where the node is a route reflector: in an internal session
// with a peer that is not a reflector of the same cluster (RFC 4456).
func (e *Engine) reflect(h *host, session *wire.BGPPeer, local uint32, peer *host) {
	if session.LocalASNumber != 0 {
		local = session.LocalASNumber
	}
	if h.RouteReflectorClusterID == "" || session.ASNumber != local ||
		peer != nil && peer.RouteReflectorClusterID == h.RouteReflectorClusterID {
		return
	}
	session.RouteReflectorPeer, session.ClusterID = true, h.RouteReflectorClusterID
}
