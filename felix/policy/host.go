package policy

import (
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/iptables"
	"github.com/maneki-net/maneki/typha/wire"
)

const (
	chainPrerouting       = "cali-PREROUTING"
	chainFromHostEndpoint = "cali-from-host-endpoint"
	chainToHostEndpoint   = "cali-to-host-endpoint"
	chainFromHostForward  = "cali-from-hep-forward"
	chainToHostForward    = "cali-to-hep-forward"
	chainFailsafeIn       = "cali-failsafe-in"
	chainFailsafeOut      = "cali-failsafe-out"

	prefixFromHost        = "cali-fh-"
	prefixToHost          = "cali-th-"
	prefixFromHostForward = "cali-fhfw-"
	prefixToHostForward   = "cali-thfw-"
)

// routerAdvertisement is ICMPv6's message without which a node may lose its address.
const routerAdvertisement = 134

// Mangle renders the mangle table: nothing without host endpoints.
func (r *Renderer) Mangle(in Input) Table {
	t := r.table(iptables.Mangle, in)
	if len(in.Hosts) == 0 {
		return t.out
	}
	accepted := t.marked(t.Marks.Accept)
	t.out.Hooks = map[string]iptables.Hooks{
		"PREROUTING":  {Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainPrerouting}}}},
		"POSTROUTING": {Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainPostrouting}}}},
	}
	t.add(chainPrerouting, nil, func() []iptables.Rule {
		return []iptables.Rule{
			{Match: known, Action: iptables.Return{}},
			{Match: accepted, Action: iptables.Return{}},
			{Action: iptables.Jump{Chain: chainFromHostEndpoint}},
		}
	})
	t.add(chainPostrouting, nil, func() []iptables.Rule {
		return []iptables.Rule{
			{Match: accepted, Action: iptables.Return{}},
			{Match: iptables.Match(nil).Conntrack("DNAT"), Action: iptables.Jump{Chain: chainToHostEndpoint}},
		}
	})
	t.failsafes()
	t.dispatchHosts(chainFromHostEndpoint, prefixFromHost, iptables.Match.InInterface, in.Hosts)
	t.dispatchHosts(chainToHostEndpoint, prefixToHost, iptables.Match.OutInterface, in.Hosts)
	for _, h := range in.Hosts {
		t.host(h, prefixFromHost, iptables.Jump{Chain: chainFailsafeIn}, stages{tiers: h.Policy.PreDNAT, ingress: true})
		t.host(h, prefixToHost, iptables.Jump{Chain: chainFailsafeOut}, t.local(h.Policy, false))
	}
	return t.out
}

// Raw renders the raw table: the check of workloads' source addresses, and the policies with doNotTrack. As in Calico,
// the host endpoint for all interfaces has none of these.
func (r *Renderer) Raw(in Input) Table {
	t := r.table(iptables.Raw, in)
	t.out.Hooks = map[string]iptables.Hooks{}
	hosts := len(in.Hosts) > 0
	jump := iptables.Rule{Action: iptables.Jump{Chain: chainPrerouting}}
	t.out.Hooks["PREROUTING"] = iptables.Hooks{Insert: []iptables.Rule{jump}}
	t.add(chainPrerouting, hosts, func() []iptables.Rule { return t.prerouting(hosts) })
	t.checkSources(in.Endpoints)
	if hosts {
		t.untracked(in.Hosts)
	}
	return t.out
}

func (t *table) prerouting(hosts bool) []iptables.Rule {
	var rules []iptables.Rule
	for _, pattern := range t.Interfaces {
		rules = append(rules, iptables.Rule{Match: iptables.Match(nil).InInterface(pattern),
			Action: iptables.Jump{Chain: chainSource}})
	}
	if hosts {
		rules = append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: t.Marks.every()}},
			iptables.Rule{Action: iptables.Jump{Chain: chainFromHostEndpoint}})
	}
	return rules
}

// untracked adds the policies of host endpoints with doNotTrack.
func (t *table) untracked(all []HostEndpoint) {
	t.out.Hooks["OUTPUT"] = iptables.Hooks{Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainOutput}}}}
	t.add(chainOutput, nil, func() []iptables.Rule {
		return []iptables.Rule{{Action: iptables.ClearMark{Mask: t.Marks.every()}}, {Action: iptables.Jump{Chain: chainToHostEndpoint}}}
	})
	var hosts []HostEndpoint
	for _, h := range all {
		if h.Interface != AnyInterface {
			hosts = append(hosts, h)
		}
	}
	t.failsafes()
	t.dispatchHosts(chainFromHostEndpoint, prefixFromHost, iptables.Match.InInterface, hosts)
	t.dispatchHosts(chainToHostEndpoint, prefixToHost, iptables.Match.OutInterface, hosts)
	for _, h := range hosts {
		t.host(h, prefixFromHost, iptables.Jump{Chain: chainFailsafeIn}, stages{tiers: h.Policy.Untracked, ingress: true, untrack: true})
		t.host(h, prefixToHost, iptables.Jump{Chain: chainFailsafeOut}, stages{tiers: h.Policy.Untracked, untrack: true})
	}
}

// filterHosts adds the chains of host endpoints to the filter table.
func (t *table) filterHosts(hosts []HostEndpoint) {
	t.failsafes()
	t.dispatchHosts(chainFromHostEndpoint, prefixFromHost, iptables.Match.InInterface, hosts)
	t.dispatchHosts(chainToHostEndpoint, prefixToHost, iptables.Match.OutInterface, hosts)
	t.dispatchHosts(chainFromHostForward, prefixFromHostForward, iptables.Match.InInterface, hosts)
	t.dispatchHosts(chainToHostForward, prefixToHostForward, iptables.Match.OutInterface, hosts)
	forwarded := iptables.Rule{Action: t.setMark(t.Marks.Accept), Comment: "Allow forwarded traffic by default"}
	for _, h := range hosts {
		t.host(h, prefixFromHost, iptables.Jump{Chain: chainFailsafeIn}, t.local(h.Policy, true))
		t.host(h, prefixToHost, iptables.Jump{Chain: chainFailsafeOut}, t.local(h.Policy, false))
		t.host(h, prefixFromHostForward, nil, stages{tiers: h.Policy.Forward, ingress: true, ends: true, last: forwarded})
		t.host(h, prefixToHostForward, nil, stages{tiers: h.Policy.Forward, ends: true, last: forwarded})
	}
}

// local is what decides on what begins or ends at the node.
func (t *table) local(p *wire.HostEndpoint, ingress bool) stages {
	return stages{tiers: p.Tiers, profiles: p.Profiles, ingress: ingress, ends: true,
		last: iptables.Rule{Action: t.Deny, Comment: "Drop if no profiles matched"}}
}

// askHosts sends a packet by way of ask unless an earlier table allowed it.
func (t *table) askHosts(ask iptables.Rule) []iptables.Rule {
	accepted := t.marked(t.Marks.Accept)
	allow := iptables.Action(iptables.Accept{})
	if t.AllowReturns {
		allow = iptables.Return{}
	}
	return []iptables.Rule{
		{Match: accepted, Action: allow},
		{Action: iptables.ClearMark{Mask: t.Marks.every()}},
		ask,
		{Match: accepted, Action: allow, Comment: "Host endpoint policy accepted packet."},
	}
}

// dispatchHosts adds the chain that sends a packet to the chain of its interface, if that has one.
func (t *table) dispatchHosts(chain, prefix string, match func(iptables.Match, string) iptables.Match, hosts []HostEndpoint) {
	var rules, any []iptables.Rule
	for _, h := range hosts {
		if h.Interface != AnyInterface {
			rules = append(rules, iptables.Rule{Match: match(nil, h.Interface), Action: iptables.Goto{Chain: hostChain(prefix, h.Interface)}})
			continue
		}
		if prefix == prefixToHost { // the node may always reach its workloads
			for _, pattern := range t.Interfaces {
				any = append(any, iptables.Rule{Match: match(nil, pattern), Action: iptables.Return{}})
			}
		}
		any = append(any, iptables.Rule{Action: iptables.Goto{Chain: hostChain(prefix, AnyInterface)}})
	}
	rules = append(rules, any...)
	t.add(chain, matchKey(rules), func() []iptables.Rule { return rules })
}

// hostChain names a chain of a host endpoint.
func hostChain(prefix, iface string) string {
	if iface == AnyInterface {
		iface = "any-interface-at-all" // as in Calico
	}
	return named(prefix, iface)
}

// host adds one chain of a host endpoint, and those of its policies.
func (t *table) host(h HostEndpoint, prefix string, failsafe iptables.Action, s stages) {
	t.addPolicies(s.tiers, s.profiles, s.ingress)
	t.add(hostChain(prefix, h.Interface), h.Policy, func() []iptables.Rule {
		var rules []iptables.Rule
		switch {
		case t.name == iptables.Raw: // nothing is tracked yet
		case t.name == iptables.Mangle && s.ingress:
			rules = t.invalid()
		case t.name == iptables.Filter && failsafe != nil:
			rules = t.established()
		default: // further chains have to see it: a workload's, that checks its source
			rules = t.establishedReturns()
		}
		if failsafe != nil {
			rules = append(rules, iptables.Rule{Action: failsafe})
		}
		return append(rules, t.decide(s)...)
	})
}

// failsafes adds the chains of what no policy of a host endpoint closes. An interface without IPv6 neighbours has no
// failsafe port either.
func (t *table) failsafes() {
	type side = func(iptables.Match, ...iptables.PortRange) iptables.Match
	type net = func(iptables.Match, netip.Prefix) iptables.Match
	rules := func(ports []Failsafe, port side, peer net) []iptables.Rule {
		var rules []iptables.Rule
		for _, p := range ports {
			m := iptables.Match(nil).Protocol(p.Protocol)
			if p.Net.IsValid() {
				if dataplane.FamilyOf(p.Net.Addr()) != t.Family {
					continue
				}
				m = peer(m, p.Net)
			}
			rules = append(rules, iptables.Rule{Match: port(m, iptables.PortRange{First: p.Port, Last: p.Port}), Action: iptables.Accept{}})
		}
		return rules
	}
	t.add(chainFailsafeIn, nil, func() []iptables.Rule {
		list := append(t.linkLocal(routerAdvertisement), rules(t.FailsafeIn, iptables.Match.DestPorts, iptables.Match.SourceNet)...)
		if t.name == iptables.Raw { // answers are not known by their connections yet
			list = append(list, rules(t.FailsafeOut, iptables.Match.SourcePorts, iptables.Match.SourceNet)...)
		}
		return list
	})
	t.add(chainFailsafeOut, nil, func() []iptables.Rule {
		list := append(t.linkLocal(routerAdvertisement), rules(t.FailsafeOut, iptables.Match.DestPorts, iptables.Match.DestNet)...)
		if t.name == iptables.Raw {
			list = append(list, rules(t.FailsafeIn, iptables.Match.SourcePorts, iptables.Match.DestNet)...)
		}
		return list
	})
}
