package policy

import (
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

const (
	chainSource     = "cali-wl-source"
	chainNeighbours = "cali-wl-neighbours"
)

// sources returns the networks of this family that an endpoint may send from.
func (t *table) sources(e Endpoint) []netip.Prefix {
	var sources []netip.Prefix
	for _, addr := range e.Addrs {
		sources = append(sources, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return slices.DeleteFunc(append(sources, e.Sources...), func(p netip.Prefix) bool {
		return dataplane.FamilyOf(p.Addr()) != t.Family
	})
}

// checkSources adds the chains that drop packets that workloads send from addresses of others. The chains belong to the
// raw table, before connection tracking: a forged packet neither creates an entry there nor matches one.
func (t *table) checkSources() {
	var rules []filter.Rule
	if t.Family == dataplane.IPv6 {
		for _, source := range []string{"fe80::/10", "::/128"} {
			m := filter.Match{Protocol: icmpv6, Source: filter.End{Nets: []netip.Prefix{netip.MustParsePrefix(source)}}}
			rules = append(rules, filter.Rule{Match: m, Action: filter.Goto{Chain: chainNeighbours}})
		}
		t.add(chainNeighbours, append(t.linkLocal(), filter.Rule{Action: filter.Drop{},
			Comment: "Drop what is not about neighbours"}))
	}
	t.add(chainSource, append(rules, filter.Rule{Action: filter.Jump{Chain: chainFrom}}))
}

// forged returns the rules that drop packets from other addresses than the sources.
func forged(sources []netip.Prefix) []filter.Rule {
	drop := filter.Rule{Action: filter.Drop{}, Comment: "Drop packets from addresses that are not the workload's"}
	if len(sources) == 1 && sources[0].Bits() > 0 { // iptables has no negation of all addresses
		drop.Match.Source.NotNets = sources
		return []filter.Rule{drop}
	}
	var rules []filter.Rule
	for _, source := range sources {
		from := filter.End{Nets: []netip.Prefix{source}}
		rules = append(rules, filter.Rule{Match: filter.Match{Source: from}, Action: filter.Return{}})
	}
	return append(rules, drop)
}
