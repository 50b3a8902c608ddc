package policy

import (
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/iptables"
	"github.com/maneki-net/maneki/typha/wire"
)

// policy renders one direction of a policy or a profile.
func (r *Renderer) policy(p *wire.Policy, ingress bool) []iptables.Rule {
	if p == nil {
		return []iptables.Rule{{Action: r.Deny, Comment: "The policy is not known"}}
	}
	list := []iptables.Rule{{Comment: about(p)}} // counts, and says whose chain it is
	for _, rule := range rulesOf(p, ingress) {
		list = append(list, r.rule(rule)...)
	}
	return list
}

func about(p *wire.Policy) string {
	if p.Tier == "" {
		return "Profile " + p.Name
	}
	return "Policy " + p.Name
}

// rule renders one rule, into none when it can match nothing in this family.
func (r *Renderer) rule(rule wire.Rule) []iptables.Rule {
	if !r.applies(rule) {
		return nil
	}
	if hasPorts(rule) && !portProtocol(rule.Protocol) || (rule.ICMP != nil || rule.NotICMP != nil) && rule.Protocol != icmp && rule.Protocol != icmpv6 {
		// The kernel compares ports and ICMP types only of a protocol that has them. What cannot be compared
		// must not open anything that the rule is there to close.
		if rule.Action == wire.Allow || rule.Action == wire.Log {
			return nil
		}
		rule.Action = wire.Deny
		rule.Src.Ports, rule.Src.NotPorts, rule.Dst.Ports, rule.Dst.NotPorts = nil, nil, nil, nil
		rule.ICMP, rule.NotICMP = nil, nil
	}
	m := matcher{r: r}
	m.protocol(rule)
	if !m.end(rule.Src, source) || !m.end(rule.Dst, destination) {
		return nil
	}
	return append(m.before, r.act(rule.Action, m.match)...)
}

// applies reports whether the family has packets that the rule could match.
func (r *Renderer) applies(rule wire.Rule) bool {
	switch {
	case rule.Protocol != 0 && rule.Protocol == rule.NotProtocol:
		return false
	case rule.Family != 0 && dataplane.Family(rule.Family) != r.Family:
		return false
	case rule.Protocol == icmp:
		return r.Family == dataplane.IPv4
	case rule.Protocol == icmpv6:
		return r.Family == dataplane.IPv6
	}
	return true
}

func hasPorts(rule wire.Rule) bool {
	return len(rule.Src.Ports)+len(rule.Src.NotPorts)+len(rule.Dst.Ports)+len(rule.Dst.NotPorts) > 0
}

func portProtocol(p uint8) bool { return p == tcp || p == udp || p == sctp || p == dccp || p == lite }

// act applies an action to what matches.
func (r *Renderer) act(action wire.Action, m iptables.Match) []iptables.Rule {
	switch action {
	case wire.Allow:
		return r.markAndReturn(m, r.Marks.Accept)
	case wire.Pass:
		return r.markAndReturn(m, r.Marks.Pass)
	case wire.Log:
		return []iptables.Rule{{Match: m, Action: iptables.Log{Prefix: r.LogPrefix, Level: 5}}}
	}
	return []iptables.Rule{{Match: m, Action: r.Deny}} // also what a later release's action is taken for
}

func (r *Renderer) markAndReturn(m iptables.Match, bit uint32) []iptables.Rule {
	return []iptables.Rule{{Match: m, Action: r.setMark(bit)}, {Match: r.marked(bit), Action: iptables.Return{}}}
}

// side is one end of a packet, with the matches that look at it.
type side struct {
	net, notNet         func(iptables.Match, netip.Prefix) iptables.Match
	set, notSet         func(iptables.Match, string) iptables.Match
	ports, notPorts     func(iptables.Match, ...iptables.PortRange) iptables.Match
	portSet, notPortSet func(iptables.Match, string) iptables.Match
}

var (
	source = side{iptables.Match.SourceNet, iptables.Match.NotSourceNet, iptables.Match.SourceSet, iptables.Match.NotSourceSet,
		iptables.Match.SourcePorts, iptables.Match.NotSourcePorts, iptables.Match.SourcePortSet, iptables.Match.NotSourcePortSet}
	destination = side{iptables.Match.DestNet, iptables.Match.NotDestNet, iptables.Match.DestSet, iptables.Match.NotDestSet,
		iptables.Match.DestPorts, iptables.Match.NotDestPorts, iptables.Match.DestPortSet, iptables.Match.NotDestPortSet}
)

// matcher collects what a rule matches. What one iptables rule can express goes into match.
// Of a part with several alternatives each has a rule of its own before, which mark the packet; match
// then asks for the mark.
type matcher struct {
	r      *Renderer
	before []iptables.Rule
	match  iptables.Match
}

func (m *matcher) protocol(rule wire.Rule) {
	switch {
	case rule.Protocol != 0:
		m.match = m.match.Protocol(rule.Protocol)
	case rule.NotProtocol != 0:
		m.match = m.match.NotProtocol(rule.NotProtocol)
	}
	for _, icmp := range []struct {
		*wire.ICMP
		not bool
	}{{rule.ICMP, false}, {rule.NotICMP, true}} {
		if icmp.ICMP != nil {
			m.match = m.match.ICMP(iptables.ICMP{V6: m.r.Family == dataplane.IPv6, Type: icmp.Type,
				Code: icmp.Code, HasCode: icmp.HasCode, Not: icmp.not})
		}
	}
}

// end adds one end's parts. It returns false when they match nothing in this family.
func (m *matcher) end(end wire.Match, s side) bool {
	nets := m.ofFamily(end.Nets)
	if len(end.Nets) > 0 && len(nets) == 0 {
		return false
	}
	m.oneOf(alternatives(nets, s.net))
	not := m.ofFamily(end.NotNets)
	if slices.ContainsFunc(not, func(n netip.Prefix) bool { return n.Bits() == 0 }) {
		return false // nothing is outside; the kernel refuses to be asked (Linux 6.18)
	}
	if len(not) == 1 && len(nets) != 1 { // a rule can name one network an end
		m.match = s.notNet(m.match, not[0])
	} else {
		m.noneOf(alternatives(not, s.net))
	}
	for _, set := range end.Sets {
		m.match = s.set(m.match, m.r.set(set))
	}
	for _, set := range end.NotSets {
		m.match = s.notSet(m.match, m.r.set(set))
	}
	var ports []func(iptables.Match) iptables.Match
	for _, list := range iptables.SplitPorts(portRanges(end.Ports)) {
		ports = append(ports, func(match iptables.Match) iptables.Match { return s.ports(match, list...) })
	}
	for _, set := range end.PortSets {
		ports = append(ports, func(match iptables.Match) iptables.Match { return s.portSet(match, m.r.set(set)) })
	}
	m.oneOf(ports)
	for _, list := range iptables.SplitPorts(portRanges(end.NotPorts)) {
		m.match = s.notPorts(m.match, list...)
	}
	for _, set := range end.NotPortSets {
		m.match = s.notPortSet(m.match, m.r.set(set))
	}
	return true
}

func (m *matcher) ofFamily(nets []netip.Prefix) []netip.Prefix {
	var ours []netip.Prefix
	for _, n := range nets {
		if dataplane.FamilyOf(n.Addr()) == m.r.Family {
			ours = append(ours, n)
		}
	}
	return ours
}

func alternatives[T any](values []T, add func(iptables.Match, T) iptables.Match) []func(iptables.Match) iptables.Match {
	adds := make([]func(iptables.Match) iptables.Match, len(values))
	for i, v := range values {
		adds[i] = func(match iptables.Match) iptables.Match { return add(match, v) }
	}
	return adds
}

func portRanges(ports []wire.PortRange) []iptables.PortRange {
	ranges := make([]iptables.PortRange, len(ports))
	for i, p := range ports {
		ranges[i] = iptables.PortRange{First: p.First, Last: p.Last}
	}
	return ranges
}

// oneOf demands that one of the alternatives holds.
func (m *matcher) oneOf(alternatives []func(iptables.Match) iptables.Match) {
	marks := m.r.Marks
	switch len(alternatives) {
	case 0:
	case 1:
		m.match = alternatives[0](m.match)
	default:
		m.begin()
		m.before = append(m.before, iptables.Rule{Action: iptables.ClearMark{Mask: marks.Part}})
		for _, add := range alternatives {
			m.before = append(m.before, iptables.Rule{Match: add(m.base()), Action: m.r.setMark(marks.Part)})
		}
		m.before = append(m.before, iptables.Rule{Match: m.r.unmarked(marks.Part), Action: iptables.ClearMark{Mask: marks.All}})
	}
}

// noneOf demands that none of the alternatives holds.
func (m *matcher) noneOf(alternatives []func(iptables.Match) iptables.Match) {
	for _, add := range alternatives {
		m.begin()
		m.before = append(m.before, iptables.Rule{Match: add(nil), Action: iptables.ClearMark{Mask: m.r.Marks.All}})
	}
}

// begin sets, once, the mark that says that all parts matched.
func (m *matcher) begin() {
	if len(m.before) == 0 {
		m.before = append(m.before, iptables.Rule{Action: m.r.setMark(m.r.Marks.All)})
		m.match = m.match.Mark(m.r.Marks.All, m.r.Marks.All)
	}
}

// base is what the match begins with as far as a port match needs it: the protocol.
func (m *matcher) base() iptables.Match {
	if len(m.match) > 0 && len(m.match[0]) > 3 && m.match[0][:3] == "-p " {
		return m.match[:1:1]
	}
	return nil
}
