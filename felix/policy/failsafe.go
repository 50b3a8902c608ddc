package policy

import (
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// failsafes adds the chains of what no policy of a host endpoint closes. An interface without IPv6 neighbours has no
// failsafe port either.
func (t *table) failsafes() {
	toPort := func(peer, port filter.End) filter.Match { return filter.Match{Source: peer, Dest: port} }
	toPeer := func(peer, port filter.End) filter.Match {
		peer.Ports = port.Ports
		return filter.Match{Dest: peer}
	}
	in := append(t.linkLocal(routerAdvertisement), t.failsafe(t.FailsafeIn, toPort)...)
	out := append(t.linkLocal(routerAdvertisement), t.failsafe(t.FailsafeOut, toPeer)...)
	if t.name == filter.Raw { // answers are not known by their connections yet
		in = append(in, t.failsafe(t.FailsafeOut, func(peer, port filter.End) filter.Match {
			peer.Ports = port.Ports
			return filter.Match{Source: peer}
		})...)
		out = append(out, t.failsafe(t.FailsafeIn, func(peer, port filter.End) filter.Match {
			return filter.Match{Source: port, Dest: peer}
		})...)
	}
	t.add(chainFailsafeIn, in)
	t.add(chainFailsafeOut, out)
}

// failsafe returns the rules that accept failsafe ports. match puts the peer and the port where they belong.
func (t *table) failsafe(ports []Failsafe, match func(peer, port filter.End) filter.Match) []filter.Rule {
	var rules []filter.Rule
	for _, p := range ports {
		peer := filter.End{}
		if p.Net.IsValid() {
			if dataplane.FamilyOf(p.Net.Addr()) != t.Family {
				continue
			}
			peer.Nets = []netip.Prefix{p.Net}
		}
		m := match(peer, toPort(p.Port))
		m.Protocol = p.Protocol
		rules = append(rules, filter.Rule{Match: m, Action: filter.Accept{}})
	}
	return rules
}
