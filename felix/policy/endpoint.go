package policy

import (
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/typha/wire"
)

const (
	chainForward = "cali-FORWARD"
	chainInput   = "cali-INPUT"
	chainOutput  = "cali-OUTPUT"
	chainToHost  = "cali-wl-to-host"
	chainNodes   = "cali-wl-to-nodes"
	chainFrom    = "cali-from-wl-dispatch"
	chainTo      = "cali-to-wl-dispatch"

	prefixFromWorkload = "cali-fw-"
	prefixToWorkload   = "cali-tw-"
)

// defaultBGPPort is the port of RFC 4271.
const defaultBGPPort = 179

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

// filter renders what of the filter table does not depend on which workloads there are.
func (t *table) filter(hosts []HostEndpoint) {
	t.static(len(hosts) > 0)
	if len(hosts) > 0 {
		t.filterHosts(hosts)
	}
	t.ipvs(hosts)
}

// static adds the chains and hooks that every node has.
func (t *table) static(hosts bool) {
	forward := filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainForward}}}}
	if !t.AllowReturns {
		forward.Last = []filter.Rule{{Match: t.marked(t.Marks.Accept), Action: filter.Accept{},
			Comment: "Policy explicitly accepted packet."}}
	}
	t.hooks[filter.Forward] = forward
	t.hooks[filter.Input] = filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainInput}}}}
	t.hooks[filter.Output] = filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainOutput}}}}
	t.add(chainForward, t.forward(hosts))
	t.add(chainInput, t.input(hosts))
	t.add(chainOutput, t.output(hosts))
	t.add(chainToHost, t.toHost())
	t.add(chainNodes, t.toNodes())
}

func (t *table) forward(hosts bool) []filter.Rule {
	var rules []filter.Rule
	if hosts {
		rules = append(rules, filter.Rule{Action: filter.ClearMark{Mask: t.Marks.every() &^ t.Marks.Accept}},
			filter.Rule{Match: t.unmarked(t.Marks.Accept), Action: filter.Jump{Chain: chainFromHostForward}})
	} else {
		rules = append(rules, filter.Rule{Action: filter.ClearMark{Mask: t.Marks.every()}})
	}
	rules = append(rules, t.tunnelForward()...)
	for _, prefix := range t.InterfacePrefixes {
		rules = append(rules,
			filter.Rule{Match: inFrom(prefix), Action: filter.Jump{Chain: chainNodes}},
			filter.Rule{Match: inFrom(prefix), Action: filter.Jump{Chain: chainFrom}},
			filter.Rule{Match: outTo(prefix), Action: filter.Jump{Chain: chainTo}})
	}
	if hosts {
		rules = append(rules, filter.Rule{Action: filter.Jump{Chain: chainToHostForward}})
	}
	return rules
}

func (t *table) input(hosts bool) []filter.Rule {
	rules := t.inputIPVS()
	for _, prefix := range t.InterfacePrefixes {
		rules = append(rules, filter.Rule{Match: inFrom(prefix), Action: filter.Goto{Chain: chainToHost}})
	}
	rules = append(rules, t.tunnelInput()...)
	if hosts {
		rules = append(rules, t.askHosts(filter.Rule{Action: filter.Jump{Chain: chainFromHostEndpoint}})...)
	}
	return rules
}

func (t *table) output(hosts bool) []filter.Rule {
	rules := append(t.outputIPVS(), t.tunnelOutput()...)
	if hosts {
		for _, prefix := range t.InterfacePrefixes {
			rules = append(rules, filter.Rule{Match: outTo(prefix), Action: filter.Return{}})
		}
		rules = append(rules, t.askHosts(filter.Rule{
			Match: filter.Match{NotState: filter.Translated}, Action: filter.Jump{Chain: chainToHostEndpoint},
			Comment: "Where the rest goes is known after the translation, to the mangle table"})...)
	}
	return rules
}

// linkLocalICMP are the message types without which an interface has no IPv6 neighbours: multicast
// listener discovery, router and neighbour solicitation and advertisement (RFC 4890 section 4.4.1).
var linkLocalICMP = []uint8{130, 131, 132, 133, 135, 136, 143}

// linkLocal accepts these messages; types adds further ones.
func (t *table) linkLocal(types ...uint8) []filter.Rule {
	if t.Family != dataplane.IPv6 {
		return nil
	}
	var rules []filter.Rule
	for _, message := range append(linkLocalICMP[:len(linkLocalICMP):len(linkLocalICMP)], types...) {
		rules = append(rules, filter.Rule{
			Match: filter.Match{Protocol: icmpv6, ICMP: &filter.ICMP{Type: message}}, Action: filter.Accept{}})
	}
	return rules
}

// toNodes returns the rules that drop a workload's packets to the BGP speaker of any node, whatever its policy allows.
// The packet's source may be translated to this node's address, which is that of a peer.
func (t *table) toNodes() []filter.Rule {
	match := t.bgp()
	match.Dest.Sets = []string{SetAllHosts}
	return []filter.Rule{{Match: match, Action: filter.Drop{}, Comment: "Drop BGP from workloads to nodes"}}
}

// bgp matches packets to a BGP speaker.
func (t *table) bgp() filter.Match {
	ports := []filter.PortRange{{First: defaultBGPPort, Last: defaultBGPPort}}
	if t.BGPPort != 0 && t.BGPPort != defaultBGPPort {
		ports = append(ports, filter.PortRange{First: t.BGPPort, Last: t.BGPPort})
	}
	return filter.Match{Protocol: tcp, Dest: filter.End{Ports: ports}}
}

// loopback is the network to which only the node itself may send. With route_localnet, which kube-proxy sets, the
// kernel would accept packets to it from others too.
var loopback = netip.MustParsePrefix("127.0.0.0/8")

func (t *table) toHost() []filter.Rule {
	rules := append(t.linkLocal(), filter.Rule{Match: t.bgp(), Action: filter.Drop{},
		Comment: "Drop BGP from workloads to the node"})
	if t.Family == dataplane.IPv4 {
		rules = append(rules, filter.Rule{
			Match: filter.Match{Dest: filter.End{Nets: []netip.Prefix{loopback}},
				NotState: filter.Related | filter.Established | filter.Translated},
			Action:  filter.Drop{},
			Comment: "Drop packets from workloads to the node's loopback that nothing translated"})
	}
	rules = append(rules, filter.Rule{Action: filter.Jump{Chain: chainFrom}})
	if t.AllowReturns { // else it was accepted there
		rules = append(rules, filter.Rule{Match: known, Action: filter.Return{}, Comment: "Answers to what the node " +
			"asked"})
	}
	return append(rules, filter.Rule{Action: t.ToHost, Comment: "Configured DefaultEndpointToHostAction"})
}

// workload adds an endpoint's chains and those of its policies. In a family that it has no address of, it is closed,
// which spares the family its policies.
func (t *table) workload(e Endpoint) {
	from, to := prefixFromWorkload+e.Interface, prefixToWorkload+e.Interface
	if len(t.sources(e)) == 0 {
		closed := []filter.Rule{{Action: t.Deny, Comment: "The workload has no address of this family"}}
		t.add(from, closed)
		t.add(to, closed)
		return
	}
	about := "workload of " + e.Interface
	t.addClosing(from, about, t.fromWorkload(e.Policy))
	t.addClosing(to, about, append(t.established(), t.decideWorkload(e.Policy, true)...))
	if e.Policy != nil {
		t.addPolicies(e.Policy.Tiers, e.Policy.Profiles, true)
		t.addPolicies(e.Policy.Tiers, e.Policy.Profiles, false)
	}
}

// fromWorkload returns the rules for what an endpoint sends. The raw table has already checked the source address.
func (t *table) fromWorkload(e *wire.Endpoint) []filter.Rule {
	rules := append(t.established(), t.tunnelFromWorkload()...)
	rules = append(rules, filter.Rule{Match: filter.Match{Protocol: ipip}, Action: filter.Drop{},
		Comment: "Drop IPinIP encapped packets originating in workloads"})
	return append(rules, t.decideWorkload(e, false)...)
}

func (t *table) decideWorkload(e *wire.Endpoint, ingress bool) []filter.Rule {
	if e == nil {
		return []filter.Rule{{Action: t.Deny, Comment: "The workload's policy is not known yet"}}
	}
	return t.decide(stages{tiers: e.Tiers, profiles: e.Profiles, ingress: ingress, ends: true,
		last: filter.Rule{Action: t.Deny, Comment: "Drop if no profiles matched"}})
}

func (t *table) established() []filter.Rule {
	if t.AllowReturns {
		return t.establishedReturns()
	}
	return append([]filter.Rule{{Match: known, Action: filter.Accept{}}}, t.invalid()...)
}

// establishedReturns leaves what belongs to a connection to further chains.
func (t *table) establishedReturns() []filter.Rule {
	rules := []filter.Rule{{Match: known, Action: t.setMark(t.Marks.Accept)}, {Match: known, Action: filter.Return{}}}
	return append(rules, t.invalid()...)
}

var known = filter.Match{State: filter.Related | filter.Established}

// invalid drops what connection tracking cannot make sense of, and clears what an earlier end allowed.
func (t *table) invalid() []filter.Rule {
	var rules []filter.Rule
	if !t.NoInvalidCheck {
		rules = append(rules, filter.Rule{Match: filter.Match{State: filter.Invalid}, Action: filter.Drop{}})
	}
	return append(rules, filter.Rule{Action: filter.ClearMark{Mask: t.Marks.Accept}})
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
	last filter.Rule
}

// decide evaluates tiers and then profiles.
func (t *table) decide(s stages) []filter.Rule {
	var rules []filter.Rule
	accepted := t.marked(t.Marks.Accept)
	for _, tier := range s.tiers {
		names := namesOf(tier, s.ingress)
		if len(names) == 0 {
			continue
		}
		rules = append(rules, filter.Rule{Action: filter.ClearMark{Mask: t.Marks.Pass},
			Comment: "Start of tier " + tier.Name})
		for _, name := range names {
			rules = append(rules, filter.Rule{Match: t.unmarked(t.Marks.Pass),
				Action: filter.Jump{Chain: policyChain(name, s.ingress)}})
			if s.untrack {
				rules = append(rules, filter.Rule{Match: accepted, Action: filter.NoTrack{}})
			}
			rules = append(rules, filter.Rule{Match: accepted, Action: filter.Return{},
				Comment: "Return if policy accepted"})
		}
		if s.ends && tier.DefaultAction != wire.Pass {
			rules = append(rules, filter.Rule{Match: t.unmarked(t.Marks.Pass), Action: t.Deny,
				Comment: "End of tier " + tier.Name + ". Drop if no policies passed packet"})
		}
	}
	for _, name := range s.profiles {
		// as a tier or a profile left it
		rules = append(rules, filter.Rule{Action: filter.ClearMark{Mask: t.Marks.Pass}},
			filter.Rule{Action: filter.Jump{Chain: profileChain(name, s.ingress)}},
			filter.Rule{Match: accepted, Action: filter.Return{}, Comment: "Return if profile accepted"})
	}
	if s.last.Action != nil {
		rules = append(rules, s.last)
	}
	return rules
}
