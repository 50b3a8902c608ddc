package calc

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// Flow is the first packet of a connection, with the addresses that the endpoints see.
type Flow struct {
	Src, Dst         netip.Addr
	Protocol         uint8  // IANA number
	SrcPort, DstPort uint16 // of TCP, UDP and SCTP
	ICMPType         uint8  // of ICMP and ICMPv6
	ICMPCode         uint8
}

// Explanation says what becomes of a flow, and why.
type Explanation struct {
	// Allowed says that every endpoint at both ends allows the flow. Where an address is no endpoint's, that end allows
	// everything.
	Allowed bool
	// Egress are the decisions of the endpoints that have the source address, Ingress those of the destination's,
	// sorted by kind, namespace and name.
	Egress, Ingress []Decision
}

// Decision is that of one endpoint.
type Decision struct {
	// Kind, Namespace and Name are those of the resource: a pod, a WorkloadEndpoint or a HostEndpoint.
	Kind, Namespace, Name string
	// Node is where the endpoint is.
	Node string
	// Outcome is what is enforced.
	Outcome
	// Staged is what would be enforced if the staged policies were; nil if the same policies would be in force.
	Staged *Outcome
}

// Outcome is the end of an evaluation, and the way to it.
type Outcome struct {
	// Action is wire.Allow or wire.Deny.
	Action wire.Action
	// By is the step that decided, the last of Steps.
	By Step
	// Steps are the rules that were considered, in order, and the ends of tiers that were reached.
	Steps []Step
}

// Stages of the evaluation at a host endpoint, beside that of all endpoints, which is empty.
const (
	StageUntracked = "untracked" // policies with doNotTrack
	StagePreDNAT   = "preDNAT"   // policies with preDNAT
)

// Step is one rule that was considered, or the end of a tier or of all profiles.
type Step struct {
	Stage string
	// Tier is empty for a profile.
	Tier string
	// Policy is the name of the wire.Policy; empty at the end of a tier, and of the profiles.
	Policy string
	// Kind, Namespace and Name are those of the policy's resource.
	Kind, Namespace, Name string
	// Staged says that the policy is staged.
	Staged bool
	// Rule is the index in the resource's rules for the direction; -1 at an end. A rule of Kubernetes can be several
	// steps: one for each peer and protocol.
	Rule int
	// Action of the rule, or of the end.
	Action wire.Action
	// Matched says that the rule matches the flow.
	Matched bool
}

// Explain says what the policies make of a flow, as of the last Flush. It takes the endpoints at both ends into
// account, and host endpoints by their expected addresses for what begins or ends at the host; not what nodes on the
// way forward, nor failsafe ports.
func (e *Engine) Explain(f Flow) Explanation {
	out := Explanation{Allowed: true}
	out.Egress = e.decisions(f, f.Src, false)
	out.Ingress = e.decisions(f, f.Dst, true)
	for _, d := range slices.Concat(out.Egress, out.Ingress) {
		out.Allowed = out.Allowed && d.Action == wire.Allow
	}
	return out
}

func (e *Engine) decisions(f Flow, at netip.Addr, ingress bool) []Decision {
	var endpoints []*item
	e.index.EachContaining(at, func(found *labelindex.Item) {
		it := itemOf(found)
		if it.isEndpoint() && !slices.Contains(endpoints, it) {
			endpoints = append(endpoints, it)
		}
	})
	slices.SortFunc(endpoints, func(a, b *item) int { return labelindex.CompareKeys(a.Key(), b.Key()) })
	var out []Decision
	for _, it := range endpoints {
		q := inquiry{e: e, flow: f, ingress: ingress, group: it.Group()}
		if spec, is := it.detail.(*v3.HostEndpointSpec); is {
			// That for all interfaces takes no part before connections are tracked.
			q.host, q.untracked = true, strings.TrimSpace(spec.InterfaceName) != "*"
		}
		enforced := appliedTo(it.Group()).policies.policies()
		d := Decision{Kind: itemKinds[it.Kind()], Namespace: it.Namespace(), Name: it.Name(), Node: it.node.String()}
		d.Outcome = q.outcome(enforced)
		if trial, staged := e.withStaged(it, enforced); staged {
			o := q.outcome(trial)
			d.Staged = &o
		}
		out = append(out, d)
	}
	return out
}

var itemKinds = map[labelindex.Kind]string{
	labelindex.Pod: KindPod, labelindex.Workload: KindWorkloadEndpoint, labelindex.Host: KindHostEndpoint,
}

// stagedKinds are the kinds of policies on trial, by the kinds of those that they stand for.
var stagedKinds = map[string]string{
	KindCalicoNetworkPolicy: KindStagedNetworkPolicy,
	KindGlobalNetworkPolicy: KindStagedGlobalNetworkPolicy,
	KindNetworkPolicy:       KindStagedKubernetesNetworkPolicy,
}

// withStaged returns the policies that would be in force, and whether they are others. What is staged replaces, or
// removes, the policy of its name, also one that selects what it does not.
func (e *Engine) withStaged(it *item, enforced []*policy) (list []*policy, staged bool) {
	for _, p := range enforced {
		key := p.key()
		on := e.policies.Get(compile.Key{Kind: stagedKinds[key.Kind], Namespace: key.Namespace, Name: key.Name})
		if on != nil && (on.staged.action == v3.StagedActionSet || on.staged.action == v3.StagedActionDelete) {
			staged = true
			continue
		}
		list = append(list, p)
	}
	for s := range it.Group().Selectors {
		trials := e.policies.staged[s]
		for p := range trials.All {
			if p.staged.action == v3.StagedActionSet {
				list, staged = append(list, p), true
			}
		}
	}
	slices.SortFunc(list, comparePolicies)
	return list, staged
}

// inquiry is the evaluation of a flow at one endpoint.
type inquiry struct {
	e               *Engine
	flow            Flow
	ingress         bool
	host, untracked bool
	group           *labelindex.Group // of the endpoint
	steps           []Step
}

// outcome asks the policies, which are in order, and then the profiles.
func (q inquiry) outcome(policies []*policy) Outcome {
	normal := policies
	if q.host {
		normal = nil
		var untracked, preDNAT []*policy
		for _, p := range policies {
			switch {
			case p.doNotTrack && !q.untracked:
			case p.doNotTrack:
				untracked = append(untracked, p)
			case p.preDNAT:
				preDNAT = append(preDNAT, p)
			default:
				normal = append(normal, p)
			}
		}
		for _, stage := range []struct {
			name     string
			policies []*policy
		}{{StageUntracked, untracked}, {StagePreDNAT, preDNAT}} {
			if action := q.tiers(stage.name, stage.policies); action != wire.Pass {
				return q.end(action)
			}
		}
	}
	if action := q.tiers("", normal); action != wire.Pass {
		return q.end(action)
	}
	for _, profile := range q.group.Profiles() {
		if action := q.profile(profile); action != 0 && action != wire.Pass {
			return q.end(action)
		}
	}
	q.steps = append(q.steps, Step{Rule: -1, Action: wire.Deny})
	return q.end(wire.Deny)
}

// profile asks for the rules that come because of a profile, and names it for them.
func (q *inquiry) profile(of *labelindex.Profile) wire.Action {
	by := q.e.rulesOf(q.group.Kind(), of)
	if by == nil || by.policy == nil {
		return 0
	}
	before := len(q.steps)
	action := q.ask("", by.policy)
	for i := range q.steps[before:] {
		q.steps[before+i].Name = of.Name()
	}
	return action
}

func (q *inquiry) end(action wire.Action) Outcome {
	return Outcome{Action: action, By: q.steps[len(q.steps)-1], Steps: q.steps}
}

// tiers returns Pass if no tier decides. At the end of a tier with policies comes its default action, but for a stage
// of its own, which goes on.
func (q *inquiry) tiers(stage string, policies []*policy) wire.Action {
	applies := func(p *policy) bool { return q.ingress && p.ingress || !q.ingress && p.egress }
	policies = slices.DeleteFunc(slices.Clone(policies), func(p *policy) bool { return !applies(p) })
	for len(policies) > 0 {
		tier := policies[0].tier
		n := slices.IndexFunc(policies, func(p *policy) bool { return p.tier != tier })
		if n < 0 {
			n = len(policies)
		}
		decided := wire.Action(0)
		for _, p := range policies[:n] {
			decided = q.ask(stage, p)
			if decided != 0 {
				break
			}
		}
		if decided == 0 {
			decided = tier.DefaultAction
			if stage != "" {
				decided = wire.Pass
			}
			q.steps = append(q.steps, Step{Stage: stage, Tier: tier.name, Rule: -1, Action: decided})
		}
		if decided != wire.Pass {
			return decided
		}
		policies = policies[n:]
	}
	return wire.Pass
}

// ask returns the action of the first rule that matches and decides, 0 if none does.
func (q *inquiry) ask(stage string, p *policy) wire.Action {
	decoded := q.e.largeServices(p).Close(p.rules.decode())
	var of origins
	if p.origins != nil {
		of = *p.origins
	}
	rules, from := decoded.Egress, of.egress
	if q.ingress {
		rules, from = decoded.Ingress, of.ingress
	}
	key, tier := p.key(), ""
	if p.tier != nil {
		tier = p.tier.name
	}
	for i := range rules {
		r := &rules[i]
		step := Step{Stage: stage, Tier: tier, Policy: p.Name, Kind: key.Kind, Namespace: key.Namespace,
			Name: key.Name, Staged: p.staged != nil, Rule: i, Action: r.Action}
		if from != nil {
			step.Rule = from[i]
		}
		step.Matched = q.matches(p, r)
		q.steps = append(q.steps, step)
		if step.Matched && r.Action != wire.Log {
			return r.Action
		}
	}
	return 0
}

func (q *inquiry) matches(p *policy, r *wire.Rule) bool {
	f := &q.flow
	switch {
	case r.Family == 4 && !f.Src.Is4(), r.Family == 6 && f.Src.Is4(),
		r.Protocol != 0 && r.Protocol != f.Protocol, r.NotProtocol != 0 && r.NotProtocol == f.Protocol,
		r.ICMP != nil && !f.isICMP(r.ICMP), r.NotICMP != nil && f.isICMP(r.NotICMP):
		return false
	}
	return q.atEnd(p, &r.Src, f.Src, f.SrcPort) && q.atEnd(p, &r.Dst, f.Dst, f.DstPort)
}

func (f *Flow) isICMP(m *wire.ICMP) bool {
	return (f.Protocol == rule.ICMP || f.Protocol == rule.ICMPv6) && f.ICMPType == m.Type &&
		(!m.HasCode || f.ICMPCode == m.Code)
}

func (q *inquiry) atEnd(p *policy, m *wire.Match, addr netip.Addr, port uint16) bool {
	within := func(net netip.Prefix) bool { return net.Contains(addr) }
	inSet := func(name string) bool {
		if set := q.e.sets.Find(name); set != nil {
			return q.inSet(set.Content, set.Selector(), addr, port)
		}
		if p.staged == nil {
			return false
		}
		i := slices.IndexFunc(p.staged.specs, func(s spec.Set) bool { return s.Name == name })
		if i < 0 {
			return false
		}
		planned, items := p.staged.specs[i], (*labelindex.Selector)(nil)
		if planned.Service == nil {
			items = q.e.index.FindSelector(planned.Items.Key())
		}
		return q.inSet(planned.Content, items, addr, port)
	}
	inRange := func(r wire.PortRange) bool { return r.First <= port && port <= r.Last }
	if len(m.Nets) > 0 && !slices.ContainsFunc(m.Nets, within) || slices.ContainsFunc(m.NotNets, within) ||
		slices.ContainsFunc(m.NotSets, inSet) {
		return false
	}
	for _, name := range m.Sets {
		if !inSet(name) {
			return false
		}
	}
	if len(m.Ports)+len(m.PortSets) > 0 && !slices.ContainsFunc(m.Ports, inRange) &&
		!slices.ContainsFunc(m.PortSets, inSet) {
		return false
	}
	return !slices.ContainsFunc(m.NotPorts, inRange) && !slices.ContainsFunc(m.NotPortSets, inSet)
}

// inSet reports whether an address, with a port where the set is of ports, is in what a set is made from. Sets of
// staged policies exist nowhere else, and their selectors may not be matched yet (see backlog).
func (q *inquiry) inSet(s spec.Content, items *labelindex.Selector, addr netip.Addr, port uint16) bool {
	if s.Service != nil {
		m := sets.Member{Net: netip.PrefixFrom(addr, addr.BitLen())}
		if s.WithPorts {
			m.Protocol, m.Port = q.flow.Protocol, port
		}
		return q.e.sets.ServiceHas(s, m)
	}
	if items == nil {
		return false
	}
	found := false
	q.e.index.EachContaining(addr, func(it *labelindex.Item) {
		selected := it.SelectedBy(items)
		if !items.Matched() {
			selected = it.Group() != nil && items.Selects(it.Group())
		}
		if !selected {
			return
		}
		if s.Port == "" {
			found = true
		} else if s.Protocol == q.flow.Protocol {
			it.Group().Ports().Named(s.Port, s.Protocol, func(number uint16) { found = found || number == port })
		}
	})
	return found
}
