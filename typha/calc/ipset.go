package calc

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// setSpec says what an IP set contains: the addresses of the selected pods, or, with a port
// name, those of their ports that have the name and the protocol.
type setSpec struct {
	pods     podSelector
	port     string
	protocol uint8
}

// name is a hash of the meaning: "s:" and 22 characters for addresses, "n:" for ports.
func (s setSpec) name() string {
	prefix, text := "s:", s.pods.canonical()
	if s.port != "" {
		prefix, text = "n:", fmt.Sprintf("%d %q %s", s.protocol, s.port, text)
	}
	sum := sha256.Sum256([]byte(text))
	return prefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// ipSet is a set that policies name. It is made again, from its selector's members, when
// one of them changed.
type ipSet struct {
	name     string
	port     string
	protocol uint8
	users    int
	selector *selector
}

func (s *ipSet) id() wire.ID { return wire.ID{Kind: wire.KindIPSet, Name: s.name} }

func (s *ipSet) build() *wire.IPSet {
	out := &wire.IPSet{Name: s.name, Type: wire.SetNet}
	if s.port != "" {
		out.Type = wire.SetPort
	}
	for p := range s.selector.members {
		for _, addr := range p.addrs {
			if s.port == "" {
				out.Nets = append(out.Nets, netip.PrefixFrom(addr, addr.BitLen()))
				continue
			}
			for _, named := range p.ports {
				if named.name == s.port && named.protocol == s.protocol {
					out.Ports = append(out.Ports, wire.PortMember{Addr: addr, Protocol: named.protocol, Port: named.port})
				}
			}
		}
	}
	slices.SortFunc(out.Nets, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	slices.SortFunc(out.Ports, func(a, b wire.PortMember) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	out.Ports = slices.Compact(out.Ports)
	return out
}

// touchSet notes that a member of a set came, went or changed.
func (e *Engine) touchSet(s *ipSet, p *pod) {
	if len(p.addrs) > 0 {
		e.dirtySets[s] = struct{}{}
	}
}

// touchSets notes that the addresses or ports of a pod changed.
func (e *Engine) touchSets(p *pod) {
	for s := range p.matches {
		for set := range s.sets {
			e.dirtySets[set] = struct{}{}
		}
	}
}

func (e *Engine) acquireSet(spec setSpec) *ipSet {
	name := spec.name()
	if s := e.sets[name]; s != nil {
		s.users++
		return s
	}
	s := &ipSet{name: name, port: spec.port, protocol: spec.protocol, users: 1, selector: e.acquireSelector(spec.pods)}
	s.selector.sets[s] = struct{}{}
	e.sets[name] = s
	e.dirtySets[s] = struct{}{}
	return s
}

func (e *Engine) releaseSet(s *ipSet) {
	if s.users--; s.users > 0 {
		return
	}
	delete(e.sets, s.name)
	delete(e.dirtySets, s)
	delete(s.selector.sets, s)
	e.releaseSelector(s.selector)
	e.out.remove(s.id())
}
