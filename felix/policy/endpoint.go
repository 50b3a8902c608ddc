package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/iptables"
	"github.com/maneki-net/maneki/typha/wire"
)

const (
	chainForward = "cali-FORWARD"
	chainInput   = "cali-INPUT"
	chainOutput  = "cali-OUTPUT"
	chainToHost  = "cali-wl-to-host"
	chainFrom    = "cali-from-wl-dispatch"
	chainTo      = "cali-to-wl-dispatch"

	prefixFromWorkload = "cali-fw-"
	prefixToWorkload   = "cali-tw-"
)

// IANA protocol numbers.
const (
	icmp   = 1
	ipip   = 4
	tcp    = 6
	udp    = 17
	dccp   = 33
	icmpv6 = 58
	sctp   = 132
	lite   = 136 // UDP-Lite
)

// Filter renders the filter table.
func (r *Renderer) Filter(in Input) Table {
	t := r.table(iptables.Filter, in)
	t.static(len(in.Hosts) > 0)
	t.dispatch(in.Endpoints)
	for _, e := range in.Endpoints {
		t.workload(e)
	}
	if len(in.Hosts) > 0 {
		t.filterHosts(in.Hosts)
	}
	return t.out
}

// static adds the chains and hooks that do not depend on which endpoints there are.
func (t *table) static(hosts bool) {
	forward := iptables.Hooks{Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainForward}}}}
	if !t.AllowReturns {
		forward.Append = []iptables.Rule{{Match: t.marked(t.Marks.Accept), Action: iptables.Accept{},
			Comment: "Policy explicitly accepted packet."}}
	}
	t.out.Hooks = map[string]iptables.Hooks{
		"FORWARD": forward,
		"INPUT":   {Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainInput}}}},
		"OUTPUT":  {Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainOutput}}}},
	}
	t.add(chainForward, hosts, func() []iptables.Rule { return t.forward(hosts) })
	t.add(chainInput, hosts, func() []iptables.Rule { return t.input(hosts) })
	t.add(chainOutput, hosts, func() []iptables.Rule { return t.output(hosts) })
	t.add(chainToHost, nil, t.toHost)
}

func (t *table) forward(hosts bool) []iptables.Rule {
	var rules []iptables.Rule
	if hosts {
		rules = append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: t.Marks.every() &^ t.Marks.Accept}},
			iptables.Rule{Match: t.unmarked(t.Marks.Accept), Action: iptables.Jump{Chain: chainFromHostForward}})
	} else {
		rules = append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: t.Marks.every()}})
	}
	for _, pattern := range t.Interfaces {
		rules = append(rules,
			iptables.Rule{Match: iptables.Match(nil).InInterface(pattern), Action: iptables.Jump{Chain: chainFrom}},
			iptables.Rule{Match: iptables.Match(nil).OutInterface(pattern), Action: iptables.Jump{Chain: chainTo}})
	}
	if hosts {
		rules = append(rules, iptables.Rule{Action: iptables.Jump{Chain: chainToHostForward}})
	}
	return rules
}

func (t *table) input(hosts bool) []iptables.Rule {
	var rules []iptables.Rule
	for _, pattern := range t.Interfaces {
		rules = append(rules, iptables.Rule{Match: iptables.Match(nil).InInterface(pattern), Action: iptables.Goto{Chain: chainToHost}})
	}
	if t.VXLANPort != 0 {
		vxlan := t.vxlan()
		rules = append(rules,
			iptables.Rule{Match: vxlan.SourceSet(t.set(SetVXLAN)).DestType("LOCAL"), Action: iptables.Accept{},
				Comment: "Allow VXLAN packets from allowed hosts"},
			iptables.Rule{Match: vxlan.DestType("LOCAL"), Action: iptables.Drop{},
				Comment: "Drop VXLAN packets from non-allowed hosts"})
	}
	if hosts {
		rules = append(rules, t.askHosts(iptables.Rule{Action: iptables.Jump{Chain: chainFromHostEndpoint}})...)
	}
	return rules
}

func (t *table) output(hosts bool) []iptables.Rule {
	var rules []iptables.Rule
	if t.VXLANPort != 0 {
		rules = append(rules, iptables.Rule{Match: t.vxlan().SourceType("LOCAL").DestSet(t.set(SetVXLAN)), Action: iptables.Accept{},
			Comment: "Allow VXLAN packets to other allowed hosts"})
	}
	if hosts {
		for _, pattern := range t.Interfaces {
			rules = append(rules, iptables.Rule{Match: iptables.Match(nil).OutInterface(pattern), Action: iptables.Return{}})
		}
		rules = append(rules, t.askHosts(iptables.Rule{
			Match: iptables.Match(nil).NotConntrack("DNAT"), Action: iptables.Jump{Chain: chainToHostEndpoint},
			Comment: "Where the rest goes is known after the translation, to the mangle table"})...)
	}
	return rules
}

// linkLocalICMP are the message types without which an interface has no IPv6 neighbours: multicast
// listener discovery, router and neighbour solicitation and advertisement (RFC 4890 section 4.4.1).
var linkLocalICMP = []uint8{130, 131, 132, 133, 135, 136, 143}

// linkLocal accepts these messages; types adds further ones.
func (t *table) linkLocal(types ...uint8) []iptables.Rule {
	if t.Family != dataplane.IPv6 {
		return nil
	}
	var rules []iptables.Rule
	for _, message := range append(linkLocalICMP[:len(linkLocalICMP):len(linkLocalICMP)], types...) {
		rules = append(rules, iptables.Rule{
			Match: iptables.Match(nil).Protocol(icmpv6).ICMP(iptables.ICMP{V6: true, Type: message}), Action: iptables.Accept{}})
	}
	return rules
}

func (t *table) toHost() []iptables.Rule {
	rules := append(t.linkLocal(), iptables.Rule{Action: iptables.Jump{Chain: chainFrom}})
	if t.AllowReturns { // else it was accepted there
		rules = append(rules, iptables.Rule{Match: known, Action: iptables.Return{}, Comment: "Answers to what the node asked"})
	}
	return append(rules, iptables.Rule{Action: t.ToHost, Comment: "Configured DefaultEndpointToHostAction"})
}

// workloadKey is what the chains of a workload's endpoint are made of.
type workloadKey struct {
	policy  *wire.Endpoint
	sources string
}

// workload adds an endpoint's chains and those of its policies. In a family that it has no address of, it is closed,
// which spares the family its policies.
func (t *table) workload(e Endpoint) {
	sources := t.sources(e)
	from, to := prefixFromWorkload+e.Interface, prefixToWorkload+e.Interface
	if len(sources) == 0 && !t.AnySource {
		closed := func() []iptables.Rule {
			return []iptables.Rule{{Action: t.Deny, Comment: "The workload has no address of this family"}}
		}
		t.add(from, nil, closed)
		t.add(to, nil, closed)
		return
	}
	key := workloadKey{e.Policy, fmt.Sprint(sources)}
	about := "workload of " + e.Interface
	t.addClosing(from, about, key, func() []iptables.Rule { return t.fromWorkload(e.Policy, sources) })
	t.addClosing(to, about, key, func() []iptables.Rule { return append(t.established(), t.decideWorkload(e.Policy, true)...) })
	if e.Policy != nil {
		t.addPolicies(e.Policy.Tiers, e.Policy.Profiles, true)
		t.addPolicies(e.Policy.Tiers, e.Policy.Profiles, false)
	}
}

// fromWorkload is what an endpoint may send. The source comes first: what is forged must not
// profit from another endpoint's established connection.
func (t *table) fromWorkload(e *wire.Endpoint, sources []netip.Prefix) []iptables.Rule {
	rules := append(t.forged(sources), t.established()...)
	if t.VXLANPort != 0 {
		rules = append(rules, iptables.Rule{Match: t.vxlan(), Action: iptables.Drop{},
			Comment: "Drop VXLAN encapped packets originating in workloads"})
	}
	rules = append(rules, iptables.Rule{Match: iptables.Match(nil).Protocol(ipip), Action: iptables.Drop{},
		Comment: "Drop IPinIP encapped packets originating in workloads"})
	return append(rules, t.decideWorkload(e, false)...)
}

// sources are what an endpoint may send from in this family.
func (t *table) sources(e Endpoint) []netip.Prefix {
	var sources []netip.Prefix
	for _, addr := range e.Addrs {
		sources = append(sources, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return slices.DeleteFunc(append(sources, e.Sources...), func(p netip.Prefix) bool {
		return dataplane.FamilyOf(p.Addr()) != t.Family
	})
}

// forged drops what comes from elsewhere.
func (t *table) forged(sources []netip.Prefix) []iptables.Rule {
	drop := iptables.Rule{Action: iptables.Drop{}, Comment: "Drop packets from addresses that are not the workload's"}
	switch {
	case t.AnySource:
		return nil
	case len(sources) == 1:
		drop.Match = drop.Match.NotSourceNet(sources[0])
		return []iptables.Rule{drop}
	}
	rules := []iptables.Rule{{Action: iptables.ClearMark{Mask: t.Marks.Part}}}
	for _, source := range sources {
		rules = append(rules, iptables.Rule{Match: iptables.Match(nil).SourceNet(source), Action: t.setMark(t.Marks.Part)})
	}
	drop.Match = t.unmarked(t.Marks.Part)
	return append(rules, drop)
}

func (t *table) decideWorkload(e *wire.Endpoint, ingress bool) []iptables.Rule {
	if e == nil {
		return []iptables.Rule{{Action: t.Deny, Comment: "The workload's policy is not known yet"}}
	}
	return t.decide(stages{tiers: e.Tiers, profiles: e.Profiles, ingress: ingress, ends: true,
		last: iptables.Rule{Action: t.Deny, Comment: "Drop if no profiles matched"}})
}

func (t *table) established() []iptables.Rule {
	if t.AllowReturns {
		return t.establishedReturns()
	}
	return append([]iptables.Rule{{Match: known, Action: iptables.Accept{}}}, t.invalid()...)
}

// establishedReturns leaves what belongs to a connection to further chains.
func (t *table) establishedReturns() []iptables.Rule {
	return append([]iptables.Rule{{Match: known, Action: t.setMark(t.Marks.Accept)}, {Match: known, Action: iptables.Return{}}}, t.invalid()...)
}

var known = iptables.Match(nil).Conntrack("RELATED", "ESTABLISHED")

// invalid drops what connection tracking cannot make sense of, and clears what an earlier end allowed.
func (t *table) invalid() []iptables.Rule {
	var rules []iptables.Rule
	if !t.NoInvalidCheck {
		rules = append(rules, iptables.Rule{Match: iptables.Match(nil).Conntrack("INVALID"), Action: iptables.Drop{}})
	}
	return append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: t.Marks.Accept}})
}

// stages are what an endpoint's chain asks in one direction.
type stages struct {
	tiers    []wire.Tier
	profiles []string
	ingress  bool
	// ends: a tier ends with its default action; otherwise what it leaves undecided goes on.
	ends bool
	// untrack: what is allowed is not tracked.
	untrack bool
	// last is the chain's end; without an action it has none.
	last iptables.Rule
}

// decide evaluates tiers and then profiles.
func (t *table) decide(s stages) []iptables.Rule {
	var rules []iptables.Rule
	accepted := t.marked(t.Marks.Accept)
	for _, tier := range s.tiers {
		names := namesOf(tier, s.ingress)
		if len(names) == 0 {
			continue
		}
		rules = append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: t.Marks.Pass}, Comment: "Start of tier " + tier.Name})
		for _, name := range names {
			rules = append(rules, iptables.Rule{Match: t.unmarked(t.Marks.Pass), Action: iptables.Jump{Chain: policyChain(name, s.ingress)}})
			if s.untrack {
				rules = append(rules, iptables.Rule{Match: accepted, Action: iptables.NoTrack{}})
			}
			rules = append(rules, iptables.Rule{Match: accepted, Action: iptables.Return{}, Comment: "Return if policy accepted"})
		}
		if s.ends && tier.DefaultAction != wire.Pass {
			rules = append(rules, iptables.Rule{Match: t.unmarked(t.Marks.Pass), Action: t.Deny,
				Comment: "End of tier " + tier.Name + ". Drop if no policies passed packet"})
		}
	}
	for _, name := range s.profiles {
		rules = append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: t.Marks.Pass}}, // as a tier or a profile left it
			iptables.Rule{Action: iptables.Jump{Chain: profileChain(name, s.ingress)}},
			iptables.Rule{Match: accepted, Action: iptables.Return{}, Comment: "Return if profile accepted"})
	}
	if s.last.Action != nil {
		rules = append(rules, s.last)
	}
	return rules
}

// vxlan matches packets of the tunnel.
func (r *Renderer) vxlan() iptables.Match {
	return iptables.Match(nil).Protocol(udp).DestPorts(iptables.PortRange{First: r.VXLANPort, Last: r.VXLANPort})
}
