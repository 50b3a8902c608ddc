package bgp

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

// peer is a BGPPeer with its selectors compiled.
type peer struct {
	name   string
	spec   *v3.BGPPeerSpec
	node   func(*node) bool // selects the nodes that open the sessions
	remote func(*node) bool // selects the nodes at the far end; nil if the far end is an address
	addr   netip.AddrPort   // the far end if it is an address; port 0 is the default
	// session has the settings that all sessions of the BGPPeer have in common.
	session wire.BGPPeer
	// password means that the sessions should have a password, so that none may be opened.
	password bool
	// withoutEffect are the settings that have no effect, one sentence each.
	withoutEffect []string
}

// SetPeer adds or changes a BGPPeer. If the error is not nil, the BGPPeer cannot be used and there is none of that
// name. Changes.Problems has what is wrong with one that can be used.
func (r *Resolver) SetPeer(o *v3.BGPPeer) error {
	p, err := peerOf(o)
	if err != nil {
		r.DeletePeer(o.Name)
		return err
	}
	r.peers[o.Name] = p
	r.allChanged = true
	return nil
}

// DeletePeer removes a BGPPeer.
func (r *Resolver) DeletePeer(name string) {
	if r.peers[name] != nil {
		delete(r.peers, name)
		r.allChanged = true
	}
}

// problems returns which settings of a BGPPeer have no effect, and which node or filters it still needs.
func (r *Resolver) problems(p *peer, s *sessions) string {
	reasons := slices.Clone(p.withoutEffect)
	if mode := p.spec.ReversePeering; mode != "" && mode != "Auto" && mode != "Manual" {
		reasons = append(reasons, fmt.Sprintf("spec.reversePeering: %q is none of Auto, Manual; it is taken for Auto",
			mode))
	}
	if missing := s.noASNumber(p); missing != "" {
		reasons = append(reasons, missing)
	}
	for i, name := range p.spec.Filters {
		if r.filters[name] == nil {
			reasons = append(reasons, fmt.Sprintf("spec.filters[%d]: there is no usable BGPFilter %q: "+
				"the sessions import and export nothing until there is", i, name))
		}
	}
	return strings.Join(reasons, "; ")
}

func peerOf(o *v3.BGPPeer) (*peer, error) {
	p := &peer{name: o.Name, spec: &o.Spec, withoutEffect: withoutEffect(o)}
	if err := p.setEnds(); err != nil {
		return nil, err
	}
	return p, p.setSession()
}

// setEnds compiles the selectors of both ends.
func (p *peer) setEnds() (err error) {
	spec := p.spec
	switch {
	case spec.Node != "" && spec.NodeSelector != "":
		return errors.New("spec.node and spec.nodeSelector exclude each other")
	case spec.Node != "":
		p.node = func(n *node) bool { return n.Name == spec.Node }
	case spec.NodeSelector != "":
		p.node, err = nodeSelector(spec.NodeSelector)
		if err != nil {
			return fmt.Errorf("spec.nodeSelector: %w", err)
		}
	default:
		p.node = func(*node) bool { return true }
	}
	switch {
	case spec.LocalWorkloadSelector != "":
		return errors.New("spec.localWorkloadSelector: pods cannot be peers, so no session is opened")
	case (spec.PeerIP == "") == (spec.PeerSelector == ""):
		return errors.New("exactly one of spec.peerIP and spec.peerSelector has to be set")
	case spec.PeerSelector != "":
		p.remote, err = nodeSelector(spec.PeerSelector)
		if err != nil {
			return fmt.Errorf("spec.peerSelector: %w", err)
		}
	default:
		p.addr, err = parsePeerIP(spec.PeerIP)
		if err != nil {
			return fmt.Errorf("spec.peerIP: %w", err)
		}
	}
	return nil
}

// setSession reads the settings of the sessions.
func (p *peer) setSession() error {
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
		MaxRestartSeconds: restart,
		KeepaliveSeconds:  keepalive,
		AnySource:         spec.SourceAddress == "None",
		Global:            spec.Node == "" && spec.NodeSelector == "",
	}
	p.password = needsPassword(spec.Password)
	if n := spec.LocalASNumber; n != nil {
		p.session.LocalASNumber = *n
	}
	if n := spec.NumAllowedLocalASNumbers; n != nil {
		p.session.AllowedLocalAS = uint8(min(*n, 255)) // no AS path is longer
	}
	if hops := spec.TTLSecurity; hops != nil {
		if *hops < 0 || *hops > 255 {
			return fmt.Errorf("spec.ttlSecurity: %d is not within 0 to 255", *hops)
		}
		p.session.TTLSecurity = uint8(*hops)
	}
	return nil
}

// seconds reads a duration in whole seconds. No text is 0, the default.
func seconds(text string) (uint32, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 120s", text)
	}
	return uint32(d / time.Second), nil
}

// nodeSelector compiles a selector on the labels of nodes.
func nodeSelector(text string) (func(*node) bool, error) {
	s, err := expression.Parse(text)
	if err != nil {
		return nil, err
	}
	return func(n *node) bool { return s.Matches(n.labels) }, nil
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
