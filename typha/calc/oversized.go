package calc

import (
	"fmt"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// A rule that names a Service with too many members cannot be used while the Service has them. It is treated like any
// other rule that cannot be used: it allows nothing, and it denies all that it may have meant. The policy keeps what it
// says, and only what is handed out differs.

// flushOversized hands out again the policies that name Services, after a Service got too many members or no longer has
// them.
func (e *Engine) flushOversized() {
	if !e.services.resized {
		return
	}
	e.services.resized = false
	for p := range e.policies.All {
		e.handOutAgain(p)
	}
	for of := range e.profiles.All {
		if of.policy != nil {
			e.handOutAgain(of.policy)
		}
	}
}

func (e *Engine) handOutAgain(p *policy) {
	if p.closed == "" && len(e.oversized(p)) == 0 {
		return
	}
	was, object := p.handedOut(), p.decode()
	object.Name = p.name
	if p.tier != nil {
		object.Tier = p.tier.name
	}
	object = e.closeOversized(p, object)
	if p.staged == nil && was != p.handedOut() {
		e.out.setPolicy(p.name, was, p.handedOut(), object)
	}
}

// handedOut returns the encoded rules that nodes have.
func (p *policy) handedOut() string {
	if p.closed != "" {
		return p.closed
	}
	return p.rules
}

// closeOversized returns what is handed out of a policy that says this, and judges the policy.
func (e *Engine) closeOversized(p *policy, says *wire.Policy) *wire.Policy {
	key, sets := p.key(), e.oversized(p)
	e.problems.setOfService(Problem{Kind: key.kind, Namespace: key.namespace, Name: key.name}, sets.reason())
	if p.closed = ""; len(sets) == 0 {
		return says
	}
	closed := sets.close(says)
	p.closed = encode(closed)
	return closed
}

// oversized are the sets of Services with too many members, by name.
type oversized map[string]spec.Service

// oversized returns those that a policy names. It returns nil if there are none, as for most policies.
func (e *Engine) oversized(p *policy) (sets oversized) {
	add := func(s *spec.Content) {
		if s.Service == nil || !e.services.over(*s.Service) {
			return
		}
		if sets == nil {
			sets = oversized{}
		}
		sets[s.Name] = *s.Service
	}
	for _, s := range p.sets {
		add(&s.Content)
	}
	if p.staged != nil {
		for i := range p.staged.specs {
			add(&p.staged.specs[i].Content)
		}
	}
	return sets
}

// reason returns why the rules that name the sets cannot be used, or the empty string if there are no sets.
func (o oversized) reason() string {
	var first spec.Service
	for _, s := range o {
		if first.Name == "" || s.String() < first.String() {
			first = s
		}
	}
	if first.Name == "" {
		return ""
	}
	return fmt.Sprintf("services: the EndpointSlices of Service %s have more than %d addresses and ports of addresses; "+
		"spread them over several Services; until then a rule that names it allows nothing, and denies all that it may have "+
		"meant if it denies or passes", first, maxServiceMembers)
}

// close returns a policy in which the rules that name the sets cannot be used.
func (o oversized) close(p *wire.Policy) *wire.Policy {
	closed := *p
	closed.Ingress, closed.Egress = o.closeRules(p.Ingress), o.closeRules(p.Egress)
	return &closed
}

func (o oversized) closeRules(rules []wire.Rule) []wire.Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		r := &rules[i]
		if !o.named(&r.Src) && !o.named(&r.Dst) {
			continue
		}
		denies := r.Action == wire.Deny || r.Action == wire.Pass
		if denies {
			r.Action = wire.Deny
		}
		o.closeEnd(&r.Src, denies)
		o.closeEnd(&r.Dst, denies)
	}
	return rules
}

func (o oversized) named(m *wire.Match) bool {
	return slices.ContainsFunc(m.Sets, o.has) || slices.ContainsFunc(m.PortSets, o.has)
}

func (o oversized) has(set string) bool {
	_, is := o[set]
	return is
}

// closeEnd has an end match all that may have been meant, or nothing: the sets themselves are empty.
func (o oversized) closeEnd(m *wire.Match, all bool) {
	ports := slices.ContainsFunc(m.PortSets, o.has)
	switch {
	case all:
		m.Sets = slices.DeleteFunc(slices.Clone(m.Sets), o.has)
		if ports {
			m.Ports, m.PortSets = nil, nil // they are alternatives
		}
	case ports:
		m.Ports = nil
		m.PortSets = slices.DeleteFunc(slices.Clone(m.PortSets), func(set string) bool { return !o.has(set) })
	}
}
