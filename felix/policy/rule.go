package policy

import (
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/typha/wire"
)

// policy renders one direction of a policy or a profile.
func (r *Renderer) policy(p *wire.Policy, ingress bool) []filter.Rule {
	if p == nil {
		return []filter.Rule{{Action: r.Deny, Comment: "The policy is not known"}}
	}
	list := []filter.Rule{{Comment: about(p)}} // counts, and says whose chain it is
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
func (r *Renderer) rule(rule wire.Rule) []filter.Rule {
	if !r.applies(rule) {
		return nil
	}
	hasICMP := rule.ICMP != nil || rule.NotICMP != nil
	if hasPorts(rule) && !portProtocol(rule.Protocol) || hasICMP && rule.Protocol != icmp && rule.Protocol != icmpv6 {
		// The kernel compares ports and ICMP types only of a protocol that has them. What cannot be compared
		// must not open anything that the rule is there to close.
		if rule.Action == wire.Allow || rule.Action == wire.Log {
			return nil
		}
		rule.Action = wire.Deny
		rule.Src.Ports, rule.Src.NotPorts, rule.Dst.Ports, rule.Dst.NotPorts = nil, nil, nil, nil
		rule.ICMP, rule.NotICMP = nil, nil
	}
	from, possible := r.end(rule.Src)
	to, also := r.end(rule.Dst)
	if !possible || !also {
		return nil
	}
	m := filter.Match{Protocol: rule.Protocol, Source: from, Dest: to,
		ICMP: (*filter.ICMP)(rule.ICMP), NotICMP: (*filter.ICMP)(rule.NotICMP)}
	if rule.Protocol == 0 {
		m.NotProtocol = rule.NotProtocol
	}
	rendered := filter.Rule{Match: m, Action: r.act(rule.Action)}
	if rule.Action == wire.Allow {
		rendered.Effect = filter.Opens
	}
	return []filter.Rule{rendered}
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

// act returns what is done to packets that a rule matches.
func (r *Renderer) act(action wire.Action) filter.Action {
	switch action {
	case wire.Allow:
		return filter.SetMark{Value: r.Marks.Accept, Mask: r.Marks.Accept, Return: true}
	case wire.Pass:
		return filter.SetMark{Value: r.Marks.Pass, Mask: r.Marks.Pass, Return: true}
	case wire.Log:
		return filter.Log{Prefix: r.LogPrefix, Level: 5}
	}
	return r.Deny // also what a later release's action is taken for
}

// end returns the match of one end. It returns false when it matches nothing in this family.
func (r *Renderer) end(end wire.Match) (filter.End, bool) {
	e := filter.End{Nets: r.ofFamily(end.Nets), NotNets: r.ofFamily(end.NotNets), Sets: end.Sets, NotSets: end.NotSets,
		Ports: portRanges(end.Ports), NotPorts: portRanges(end.NotPorts),
		PortSets: end.PortSets, NotPortSets: end.NotPortSets}
	none := len(end.Nets) > 0 && len(e.Nets) == 0 ||
		slices.ContainsFunc(e.NotNets, func(n netip.Prefix) bool { return n.Bits() == 0 }) // nothing is outside
	return e, !none
}

func (r *Renderer) ofFamily(nets []netip.Prefix) []netip.Prefix {
	var ours []netip.Prefix
	for _, n := range nets {
		if dataplane.FamilyOf(n.Addr()) == r.Family {
			ours = append(ours, n)
		}
	}
	return ours
}

func portRanges(ports []wire.PortRange) []filter.PortRange {
	ranges := make([]filter.PortRange, len(ports))
	for i, p := range ports {
		ranges[i] = filter.PortRange{First: p.First, Last: p.Last}
	}
	return ranges
}
