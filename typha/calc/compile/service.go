package compile

import (
	"fmt"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// LargeServices are Services that a policy names and that have too many members to be used, by the names of their sets.
// A rule that names one is treated like any other rule that cannot be used: it allows nothing, and denies everything
// that it may have meant.
type LargeServices map[string]spec.Service

// Reason returns why the rules that name the Services cannot be used, or the empty string if there are none. most is
// how many members a Service may have.
func (l LargeServices) Reason(most int) string {
	var first spec.Service
	for _, s := range l {
		if first.Name == "" || s.String() < first.String() {
			first = s
		}
	}
	if first.Name == "" {
		return ""
	}
	return fmt.Sprintf("services: the EndpointSlices of Service %s have more than %d addresses and ports of "+
		"addresses; spread them over several Services; until then a rule that names it allows nothing, and "+
		"denies all that it may have meant if it denies or passes", first, most)
}

// Close returns a policy in which the rules that name the Services cannot be used. It does not change the policy.
func (l LargeServices) Close(p *wire.Policy) *wire.Policy {
	closed := *p
	closed.Ingress, closed.Egress = l.rules(p.Ingress), l.rules(p.Egress)
	return &closed
}

func (l LargeServices) rules(rules []wire.Rule) []wire.Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		r := &rules[i]
		if !l.named(&r.Src) && !l.named(&r.Dst) {
			continue
		}
		denies := r.Action == wire.Deny || r.Action == wire.Pass
		if denies {
			r.Action = wire.Deny
		}
		l.end(&r.Src, denies)
		l.end(&r.Dst, denies)
	}
	return rules
}

func (l LargeServices) named(m *wire.Match) bool {
	return slices.ContainsFunc(m.Sets, l.has) || slices.ContainsFunc(m.PortSets, l.has)
}

func (l LargeServices) has(set string) bool {
	_, is := l[set]
	return is
}

// end makes one end of a rule match everything that may have been meant, or nothing: the sets themselves are empty.
func (l LargeServices) end(m *wire.Match, all bool) {
	ports := slices.ContainsFunc(m.PortSets, l.has)
	switch {
	case all:
		m.Sets = slices.DeleteFunc(slices.Clone(m.Sets), l.has)
		if ports {
			m.Ports, m.PortSets = nil, nil // they are alternatives
		}
	case ports:
		m.Ports = nil
		m.PortSets = slices.DeleteFunc(slices.Clone(m.PortSets), func(set string) bool { return !l.has(set) })
	}
}
