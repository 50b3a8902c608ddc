package policy

import (
	"github.com/maneki-net/maneki/felix/dataplane/filter"
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

// mangle renders the mangle table: nothing without host endpoints.
func (t *table) mangle(hosts []HostEndpoint) {
	if len(hosts) == 0 {
		return
	}
	accepted := t.marked(t.Marks.Accept)
	t.hooks[filter.Prerouting] = filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainPrerouting}}}}
	t.hooks[filter.Postrouting] = filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainPostrouting}}}}
	t.add(chainPrerouting, []filter.Rule{
		{Match: known, Action: filter.Return{}},
		{Match: accepted, Action: filter.Return{}},
		{Action: filter.Jump{Chain: chainFromHostEndpoint}},
	})
	t.add(chainPostrouting, []filter.Rule{
		{Match: accepted, Action: filter.Return{}},
		{Match: filter.Match{State: filter.Translated}, Action: filter.Jump{Chain: chainToHostEndpoint}},
	})
	t.failsafes()
	t.dispatchHosts(chainFromHostEndpoint, prefixFromHost, filter.In, hosts)
	t.dispatchHosts(chainToHostEndpoint, prefixToHost, filter.Out, hosts)
	for _, h := range hosts {
		t.host(h, prefixFromHost, filter.Jump{Chain: chainFailsafeIn}, stages{tiers: h.Policy.PreDNAT, ingress: true})
		t.host(h, prefixToHost, filter.Jump{Chain: chainFailsafeOut}, t.local(h.Policy, false))
	}
}

// raw renders what of the raw table does not depend on which workloads there are: the check of source addresses, and
// the policies with doNotTrack. As in Calico, the host endpoint for all interfaces has none of these.
func (t *table) raw(hosts []HostEndpoint) {
	t.hooks[filter.Prerouting] = filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainPrerouting}}}}
	t.add(chainPrerouting, t.prerouting(len(hosts) > 0))
	t.checkSources()
	if len(hosts) > 0 {
		t.untracked(hosts)
	}
}

func (t *table) prerouting(hosts bool) []filter.Rule {
	var rules []filter.Rule
	for _, prefix := range t.InterfacePrefixes {
		rules = append(rules, filter.Rule{Match: inFrom(prefix),
			Action: filter.Jump{Chain: chainSource}})
	}
	if hosts {
		rules = append(rules, filter.Rule{Action: filter.ClearMark{Mask: t.Marks.every()}},
			filter.Rule{Action: filter.Jump{Chain: chainFromHostEndpoint}})
	}
	return rules
}

// untracked adds the policies of host endpoints with doNotTrack.
func (t *table) untracked(all []HostEndpoint) {
	t.hooks[filter.Output] = filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainOutput}}}}
	t.add(chainOutput, []filter.Rule{{Action: filter.ClearMark{Mask: t.Marks.every()}},
		{Action: filter.Jump{Chain: chainToHostEndpoint}}})
	var hosts []HostEndpoint
	for _, h := range all {
		if h.Interface != AnyInterface {
			hosts = append(hosts, h)
		}
	}
	t.failsafes()
	t.dispatchHosts(chainFromHostEndpoint, prefixFromHost, filter.In, hosts)
	t.dispatchHosts(chainToHostEndpoint, prefixToHost, filter.Out, hosts)
	for _, h := range hosts {
		in := stages{tiers: h.Policy.Untracked, ingress: true, untrack: true}
		out := stages{tiers: h.Policy.Untracked, untrack: true}
		t.host(h, prefixFromHost, filter.Jump{Chain: chainFailsafeIn}, in)
		t.host(h, prefixToHost, filter.Jump{Chain: chainFailsafeOut}, out)
	}
}

// filterHosts adds the chains of host endpoints to the filter table.
func (t *table) filterHosts(hosts []HostEndpoint) {
	t.failsafes()
	t.dispatchHosts(chainFromHostEndpoint, prefixFromHost, filter.In, hosts)
	t.dispatchHosts(chainToHostEndpoint, prefixToHost, filter.Out, hosts)
	t.dispatchHosts(chainFromHostForward, prefixFromHostForward, filter.In, hosts)
	t.dispatchHosts(chainToHostForward, prefixToHostForward, filter.Out, hosts)
	forwarded := filter.Rule{Action: t.setMark(t.Marks.Accept), Comment: "Allow forwarded traffic by default"}
	for _, h := range hosts {
		t.host(h, prefixFromHost, filter.Jump{Chain: chainFailsafeIn}, t.local(h.Policy, true))
		t.host(h, prefixToHost, filter.Jump{Chain: chainFailsafeOut}, t.local(h.Policy, false))
		in := stages{tiers: h.Policy.Forward, ingress: true, ends: true, last: forwarded}
		out := stages{tiers: h.Policy.Forward, ends: true, last: forwarded}
		t.host(h, prefixFromHostForward, nil, in)
		t.host(h, prefixToHostForward, nil, out)
	}
}

// local is what decides on what begins or ends at the node.
func (t *table) local(p *wire.HostEndpoint, ingress bool) stages {
	return stages{tiers: p.Tiers, profiles: p.Profiles, ingress: ingress, ends: true,
		last: filter.Rule{Action: t.Deny, Comment: "Drop if no profiles matched"}}
}

// askHosts sends a packet by way of ask unless an earlier table allowed it.
func (t *table) askHosts(ask filter.Rule) []filter.Rule {
	accepted := t.marked(t.Marks.Accept)
	allow := filter.Action(filter.Accept{})
	if t.AllowReturns {
		allow = filter.Return{}
	}
	return []filter.Rule{
		{Match: accepted, Action: allow},
		{Action: filter.ClearMark{Mask: t.Marks.every()}},
		ask,
		{Match: accepted, Action: allow, Comment: "Host endpoint policy accepted packet."},
	}
}

// dispatchHosts adds the dispatch that sends a packet to the chain of its interface, if that has one.
func (t *table) dispatchHosts(name, prefix string, direction filter.Direction, hosts []HostEndpoint) {
	d := filter.Dispatch{Table: t.name, Name: name, Direction: direction, Targets: map[string]string{}}
	for _, h := range hosts {
		if h.Interface != AnyInterface {
			d.Targets[h.Interface] = hostChain(prefix, h.Interface)
			continue
		}
		if prefix == prefixToHost { // the node may always reach its workloads
			for _, prefix := range t.InterfacePrefixes {
				d.Default = append(d.Default, filter.Rule{Match: outTo(prefix), Action: filter.Return{}})
			}
		}
		d.Default = append(d.Default, filter.Rule{Action: filter.Goto{Chain: hostChain(prefix, AnyInterface)}})
	}
	t.dispatches = append(t.dispatches, d)
}

// hostChain names a chain of a host endpoint.
func hostChain(prefix, iface string) string {
	if iface == AnyInterface {
		iface = "any-interface-at-all" // as in Calico
	}
	return filter.ChainName(prefix, iface)
}

// host adds one chain of a host endpoint, and names its policies.
func (t *table) host(h HostEndpoint, prefix string, failsafe filter.Action, s stages) {
	t.addPolicies(s.tiers, s.profiles, s.ingress)
	var rules []filter.Rule
	switch {
	case t.name == filter.Raw: // nothing is tracked yet
	case t.name == filter.Mangle && s.ingress:
		rules = t.invalid()
	case t.name == filter.Filter && failsafe != nil:
		rules = t.established()
	default: // further chains have to see it: a workload's, that checks its source
		rules = t.establishedReturns()
	}
	if failsafe != nil {
		rules = append(rules, filter.Rule{Action: failsafe})
	}
	t.add(hostChain(prefix, h.Interface), append(rules, t.decide(s)...))
}
