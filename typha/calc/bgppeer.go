package calc

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// bgpPeer is a BGPPeer in use.
type bgpPeer struct {
	name   string
	spec   *v3.BGPPeerSpec
	node   func(*host) bool // which nodes open the sessions
	remote func(*host) bool // the peers, where a selector chooses them
	addr   netip.AddrPort   // the peer, where it is an address; port 0 is the default
	// session has the settings that all its sessions have in common.
	session wire.BGPPeer
	// password: they are to have one, so that none may be opened.
	password bool
	// withoutEffect says what of the spec has no effect.
	withoutEffect []string
}

func (e *Engine) upsertBGPPeer(o *v3.BGPPeer) {
	p, err := bgpPeerOf(o)
	if err != nil {
		e.deleteBGPPeer(o.Name)
		e.problems.set(KindBGPPeer, "", o.Name, err.Error())
		return
	}
	e.bgp.peers[o.Name] = p
	e.bgp.allDirty = true
}

// judgeBGPPeer records which parts of a BGPPeer in use have no effect, and which node or filters it waits for.
func (e *Engine) judgeBGPPeer(p *bgpPeer, s *sessions) {
	reasons := p.notApplied()
	if missing := s.noASNumber(p); missing != "" {
		reasons = append(reasons, missing)
	}
	for i, name := range p.spec.Filters {
		if e.bgp.filters[name] == nil {
			reasons = append(reasons, fmt.Sprintf(
				"spec.filters[%d]: there is no usable BGPFilter %q: the sessions import and export nothing until there is", i, name))
		}
	}
	e.problems.set(KindBGPPeer, "", p.name, strings.Join(reasons, "; "))
}

func (e *Engine) deleteBGPPeer(name string) {
	if e.bgp.peers[name] != nil {
		delete(e.bgp.peers, name)
		e.bgp.allDirty = true
	}
}

func bgpPeerOf(o *v3.BGPPeer) (*bgpPeer, error) {
	p := &bgpPeer{name: o.Name, spec: &o.Spec, withoutEffect: withoutEffect(o)}
	if err := p.setEnds(); err != nil {
		return nil, err
	}
	return p, p.setSession()
}

func (p *bgpPeer) setEnds() (err error) {
	spec := p.spec
	switch {
	case spec.Node != "" && spec.NodeSelector != "":
		return errors.New("spec.node and spec.nodeSelector exclude each other")
	case spec.Node != "":
		p.node = func(h *host) bool { return h.Name == spec.Node }
	case spec.NodeSelector != "":
		if p.node, err = hostSelector(spec.NodeSelector); err != nil {
			return fmt.Errorf("spec.nodeSelector: %w", err)
		}
	default:
		p.node = func(*host) bool { return true }
	}
	switch {
	case spec.LocalWorkloadSelector != "":
		return errors.New("spec.localWorkloadSelector: pods cannot be peers, so no session is opened")
	case (spec.PeerIP == "") == (spec.PeerSelector == ""):
		return errors.New("exactly one of spec.peerIP and spec.peerSelector has to be set")
	case spec.PeerSelector != "":
		if p.remote, err = hostSelector(spec.PeerSelector); err != nil {
			return fmt.Errorf("spec.peerSelector: %w", err)
		}
	default:
		if p.addr, err = parsePeerIP(spec.PeerIP); err != nil {
			return fmt.Errorf("spec.peerIP: %w", err)
		}
	}
	return nil
}

func (p *bgpPeer) setSession() error {
	spec := p.spec
	restart, err := seconds(spec.MaxRestartTime)
	if err != nil {
		return fmt.Errorf("spec.maxRestartTime: %w", err)
	}
	keepalive, err := seconds(spec.KeepaliveTime)
	if err != nil {
		return fmt.Errorf("spec.keepaliveTime: %w", err)
	}
	p.session = wire.BGPPeer{
		Name: p.name, Addr: p.addr.Addr(), Port: p.addr.Port(), ASNumber: spec.ASNumber,
		KeepNextHop: spec.KeepOriginalNextHop || spec.NextHopMode == "Keep", NextHopSelf: spec.NextHopMode == "Self",
		MaxRestartSeconds: uint32(restart / time.Second),
		KeepaliveSeconds:  uint32(keepalive / time.Second),
		AnySource:         spec.SourceAddress == "None",
		Global:            spec.Node == "" && spec.NodeSelector == "",
	}
	p.password = needsPassword(spec.Password)
	if n := spec.LocalASNumber; n != nil {
		p.session.LocalASNumber = *n
	}
	if n := spec.NumAllowedLocalASNumbers; n != nil {
		p.session.AllowedLocalAS = uint8(min(*n, 255)) // no path is as long
	}
	if hops := spec.TTLSecurity; hops != nil {
		if *hops < 0 || *hops > 255 {
			return fmt.Errorf("spec.ttlSecurity: %d is not within 0 to 255", *hops)
		}
		p.session.TTLSecurity = uint8(*hops)
	}
	return nil
}

// notApplied says which settings are not applied as they are written.
func (p *bgpPeer) notApplied() []string {
	reasons := slices.Clone(p.withoutEffect)
	if r := p.spec.ReversePeering; r != "" && r != "Auto" && r != "Manual" {
		reasons = append(reasons, fmt.Sprintf("spec.reversePeering: %q is none of Auto, Manual; it is taken for Auto", r))
	}
	return reasons
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
