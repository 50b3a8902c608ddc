package policy

import (
	"net/netip"

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

// static are the chains that do not depend on endpoints.
func (r *Renderer) static() []iptables.Chain {
	all := r.Marks.Accept | r.Marks.Pass | r.Marks.All | r.Marks.Part
	from, to := iptables.Match(nil).InInterface(r.Interfaces), iptables.Match(nil).OutInterface(r.Interfaces)
	input := []iptables.Rule{
		{Action: iptables.ClearMark{Mask: all}},
		{Match: from, Action: iptables.Goto{Chain: chainToHost}},
	}
	var output []iptables.Rule
	if r.VXLANPort != 0 {
		vxlan := r.vxlan()
		input = append(input,
			iptables.Rule{Match: vxlan.SourceSet(r.set(SetVXLAN)).DestType("LOCAL"), Action: iptables.Accept{},
				Comment: "Allow VXLAN packets from allowed hosts"},
			iptables.Rule{Match: vxlan.DestType("LOCAL"), Action: iptables.Drop{},
				Comment: "Drop VXLAN packets from non-allowed hosts"})
		output = append(output, iptables.Rule{Match: vxlan.SourceType("LOCAL").DestSet(r.set(SetVXLAN)), Action: iptables.Accept{},
			Comment: "Allow VXLAN packets to other allowed hosts"})
	}
	return []iptables.Chain{
		{Name: chainForward, Rules: []iptables.Rule{
			{Action: iptables.ClearMark{Mask: all}},
			{Match: from, Action: iptables.Jump{Chain: chainFrom}},
			{Match: to, Action: iptables.Jump{Chain: chainTo}},
		}},
		{Name: chainInput, Rules: input},
		{Name: chainOutput, Rules: output},
		{Name: chainToHost, Rules: r.toHost()},
	}
}

// linkLocalICMP are the message types without which a pod has no IPv6 neighbours: multicast
// listener discovery, router and neighbour solicitation and advertisement (RFC 4890 section 4.4.1).
var linkLocalICMP = []uint8{130, 131, 132, 133, 135, 136, 143}

func (r *Renderer) toHost() []iptables.Rule {
	var rules []iptables.Rule
	if r.Family == dataplane.IPv6 {
		for _, t := range linkLocalICMP {
			rules = append(rules, iptables.Rule{
				Match: iptables.Match(nil).Protocol(icmpv6).ICMP(iptables.ICMP{V6: true, Type: t}), Action: iptables.Accept{}})
		}
	}
	return append(rules,
		iptables.Rule{Action: iptables.Jump{Chain: chainFrom}},
		iptables.Rule{Action: r.ToHost, Comment: "Configured DefaultEndpointToHostAction"})
}

// dispatch sends a packet to its endpoint's chains. The goto makes their return that of the dispatch
// chain, past its end, where what belongs to no endpoint is dropped.
func (r *Renderer) dispatch(endpoints []Endpoint) []iptables.Chain {
	from, to := iptables.Chain{Name: chainFrom}, iptables.Chain{Name: chainTo}
	for _, e := range endpoints {
		from.Rules = append(from.Rules, iptables.Rule{Match: iptables.Match(nil).InInterface(e.Interface),
			Action: iptables.Goto{Chain: fromChain(e)}})
		to.Rules = append(to.Rules, iptables.Rule{Match: iptables.Match(nil).OutInterface(e.Interface),
			Action: iptables.Goto{Chain: toChain(e)}})
	}
	unknown := iptables.Rule{Action: iptables.Drop{}, Comment: "Unknown interface"}
	from.Rules, to.Rules = append(from.Rules, unknown), append(to.Rules, unknown)
	return []iptables.Chain{from, to}
}

func fromChain(e Endpoint) string { return "cali-fw-" + e.Interface }
func toChain(e Endpoint) string   { return "cali-tw-" + e.Interface }

// fromWorkload is what an endpoint may send. The source comes first: what is forged must not
// profit from another endpoint's established connection.
func (r *Renderer) fromWorkload(e Endpoint) iptables.Chain {
	var rules []iptables.Rule
	if !r.AnySource {
		rules = append(rules, r.source(e))
	}
	rules = append(rules, r.established()...)
	if r.VXLANPort != 0 {
		rules = append(rules, iptables.Rule{Match: r.vxlan(), Action: iptables.Drop{},
			Comment: "Drop VXLAN encapped packets originating in workloads"})
	}
	rules = append(rules, iptables.Rule{Match: iptables.Match(nil).Protocol(ipip), Action: iptables.Drop{},
		Comment: "Drop IPinIP encapped packets originating in workloads"})
	return iptables.Chain{Name: fromChain(e), Rules: append(rules, r.tiers(e, false)...)}
}

// toWorkload is what an endpoint may receive.
func (r *Renderer) toWorkload(e Endpoint) iptables.Chain {
	return iptables.Chain{Name: toChain(e), Rules: append(r.established(), r.tiers(e, true)...)}
}

// source drops what is not from the endpoint's address.
func (r *Renderer) source(e Endpoint) iptables.Rule {
	rule := iptables.Rule{Action: iptables.Drop{}, Comment: "Drop packets from addresses that are not the workload's"}
	for _, addr := range e.Addrs { // CNI gives at most one of each family
		if dataplane.FamilyOf(addr) == r.Family {
			rule.Match = rule.Match.NotSourceNet(netip.PrefixFrom(addr, addr.BitLen()))
			break
		}
	}
	return rule
}

func (r *Renderer) established() []iptables.Rule {
	known := iptables.Match(nil).Conntrack("RELATED", "ESTABLISHED")
	rules := []iptables.Rule{{Match: known, Action: iptables.Accept{}}}
	if r.AllowReturns {
		rules = []iptables.Rule{{Match: known, Action: r.setMark(r.Marks.Accept)}, {Match: known, Action: iptables.Return{}}}
	}
	if !r.NoInvalidCheck {
		rules = append(rules, iptables.Rule{Match: iptables.Match(nil).Conntrack("INVALID"), Action: iptables.Drop{}})
	}
	return append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: r.Marks.Accept}})
}

// tiers evaluates the tiers of one direction, then allows: what no tier decides, the profile of
// the pod's namespace allows.
func (r *Renderer) tiers(e Endpoint, ingress bool) []iptables.Rule {
	if e.Policy == nil {
		return []iptables.Rule{{Action: r.Deny, Comment: "The workload's policy is not known yet"}}
	}
	var rules []iptables.Rule
	for _, tier := range e.Policy.Tiers {
		names, chain := tier.Egress, egressChain
		if ingress {
			names, chain = tier.Ingress, ingressChain
		}
		if len(names) == 0 {
			continue
		}
		rules = append(rules, iptables.Rule{Action: iptables.ClearMark{Mask: r.Marks.Pass}, Comment: "Start of tier " + tier.Name})
		for _, name := range names {
			rules = append(rules,
				iptables.Rule{Match: r.unmarked(r.Marks.Pass), Action: iptables.Jump{Chain: chain(name)}},
				iptables.Rule{Match: r.marked(r.Marks.Accept), Action: iptables.Return{}, Comment: "Return if policy accepted"})
		}
		if tier.DefaultAction != wire.Pass {
			rules = append(rules, iptables.Rule{Match: r.unmarked(r.Marks.Pass), Action: r.Deny,
				Comment: "End of tier " + tier.Name + ". Drop if no policies passed packet"})
		}
	}
	return append(rules, iptables.Rule{Action: r.setMark(r.Marks.Accept)})
}

func (r *Renderer) setMark(bit uint32) iptables.Action {
	return iptables.SetMark{Value: bit, Mask: bit}
}

// vxlan matches packets of the tunnel.
func (r *Renderer) vxlan() iptables.Match {
	return iptables.Match(nil).Protocol(udp).DestPorts(iptables.PortRange{First: r.VXLANPort, Last: r.VXLANPort})
}
