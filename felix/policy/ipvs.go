package policy

import (
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// With kube-proxy in IPVS mode a packet to a Service does not pass FORWARD. The Service's address is one of the node's
// own, so the packet enters INPUT. There IPVS translates it and sends it through OUTPUT to an endpoint of the Service.
// In OUTPUT it looks as if the node had sent it. As in Calico, INPUT records the packet's interface in its mark, and
// OUTPUT decides on a packet with such a mark as FORWARD would have:
//
//	INPUT ── cali-INPUT ── cali-forward-check ── cali-set-endpoint-mark
//	                                              ├ from a pod ── cali-set-wl-mark ── cali-sm-<iface>
//	                                              └ the rest ──── the mark of its host endpoint, or of others
//	OUTPUT ── cali-OUTPUT ── cali-forward-endpoint-mark
//	                          ├ cali-from-endpoint-mark ── cali-fw-<iface>, cali-fhfw-<iface>
//	                          ├ to a pod ── cali-to-wl-dispatch
//	                          └ anything ── cali-to-hep-forward
const (
	chainForwardCheck = "cali-forward-check"
	chainSetMark      = "cali-set-endpoint-mark"
	chainSetWorkload  = "cali-set-wl-mark"
	chainForwardMark  = "cali-forward-endpoint-mark"
	chainFromMark     = "cali-from-endpoint-mark"
	prefixSetMark     = "cali-sm-"
)

// The numbers in the mark of a packet that does not come from an endpoint's interface. Those of endpoints follow.
const (
	markOther   = 1 // from an interface without an endpoint
	markAllowed = 2 // from an interface of the host, and an earlier table has accepted the packet
	firstMark   = 3
)

// SetThisHost is the id of the set of the node's own addresses, without those of Services.
const SetThisHost = "this-host"

// IPVS has what it takes to recognise the packets that kube-proxy's IPVS forwards.
type IPVS struct {
	// NodePorts are the ports of NodePort Services.
	NodePorts []filter.PortRange
}

// EndpointMarks assigns interfaces numbers that fit into the mark. An interface keeps its number while it exists.
type EndpointMarks struct {
	limit   uint32 // the largest number
	numbers map[string]uint32
}

// NewEndpointMarks returns an EndpointMarks for the endpoint bits of a mark.
func NewEndpointMarks(m Marks) *EndpointMarks {
	return &EndpointMarks{limit: m.Endpoint / lowest(m.Endpoint), numbers: map[string]uint32{}}
}

// lowest returns the lowest bit of a mask, or 1 for an empty mask.
func lowest(mask uint32) uint32 { return max(mask&-mask, 1) }

// Room returns how many interfaces can have a number.
func (e *EndpointMarks) Room() int { return max(int(e.limit)-firstMark+1, 0) }

// Assign returns the number of each interface; an interface for which no number is left is missing. The numbers of all
// other interfaces become free.
func (e *EndpointMarks) Assign(interfaces []string) map[string]uint32 {
	wanted, taken := map[string]uint32{}, map[uint32]bool{}
	for _, name := range interfaces {
		if n := e.numbers[name]; n != 0 {
			wanted[name], taken[n] = n, true
		}
	}
	next := uint32(firstMark)
	for _, name := range slices.Sorted(slices.Values(interfaces)) {
		if wanted[name] != 0 {
			continue
		}
		for taken[next] {
			next++
		}
		if next > e.limit {
			break
		}
		wanted[name], taken[next] = next, true
	}
	e.numbers = wanted
	return wanted
}

// endpointMark matches packets with an endpoint's mark.
func (t *table) endpointMark(number uint32) filter.Match {
	return filter.Match{Mark: filter.Mark{Value: number * lowest(t.Marks.Endpoint), Mask: t.Marks.Endpoint}}
}

func (t *table) setEndpointMark(number uint32) filter.Action {
	return filter.SetMark{Value: number * lowest(t.Marks.Endpoint), Mask: t.Marks.Endpoint}
}

// hasEndpointMark matches packets that IPVS forwards.
func (t *table) hasEndpointMark() filter.Match {
	return filter.Match{Mark: filter.Mark{Mask: t.Marks.Endpoint, Not: true}}
}

// inputIPVS returns the rules of INPUT that leave the decision on packets that IPVS forwards to OUTPUT.
func (t *table) inputIPVS() []filter.Rule {
	if t.IPVS == nil {
		return nil
	}
	return []filter.Rule{
		{Action: filter.ClearMark{Mask: t.Marks.Endpoint}},
		{Action: filter.Jump{Chain: chainForwardCheck}},
		{Match: t.hasEndpointMark(), Action: filter.Return{}, Comment: "Forwarded by IPVS: decided in OUTPUT"},
	}
}

// outputIPVS returns the rules of OUTPUT that decide on packets that IPVS forwards.
func (t *table) outputIPVS() []filter.Rule {
	if t.IPVS == nil {
		return nil
	}
	return []filter.Rule{{Match: t.hasEndpointMark(), Action: filter.Goto{Chain: chainForwardMark}}}
}

// ipvs adds the chains that the rules of inputIPVS and outputIPVS use, but for what workloads have.
func (t *table) ipvs(hosts []HostEndpoint) {
	if t.IPVS == nil {
		return
	}
	t.add(chainForwardCheck, t.forwardCheck())
	t.add(chainSetMark, t.setMarks(hosts))
	t.add(chainForwardMark, t.forwardMarked(len(hosts) > 0))
}

// workloadMark adds the chain that marks the packets of a workload.
func (t *table) workloadMark(e Endpoint) {
	rule := filter.Rule{Action: t.setEndpointMark(e.Mark)}
	if e.Mark == 0 {
		rule = filter.Rule{Action: filter.Drop{}, Comment: "No mark is left for the workload"}
	}
	t.add(prefixSetMark+e.Interface, []filter.Rule{rule})
}

// forwardCheck returns the rules that mark a packet of INPUT that IPVS will forward. A packet of a known connection is
// not marked: its connection was decided on before.
func (t *table) forwardCheck() []filter.Rule {
	rules := []filter.Rule{{Match: known, Action: filter.Return{}}}
	toThisHost := filter.End{Sets: []string{SetThisHost}, Ports: t.IPVS.NodePorts}
	for _, protocol := range []uint8{tcp, udp, sctp} {
		if len(t.IPVS.NodePorts) > 0 {
			rules = append(rules, filter.Rule{Match: filter.Match{Protocol: protocol, Dest: toThisHost},
				Action: filter.Goto{Chain: chainSetMark}, Comment: "To a NodePort"})
		}
	}
	return append(rules, filter.Rule{Match: filter.Match{Dest: filter.End{Local: true, NotSets: []string{SetThisHost}}},
		Action: filter.Jump{Chain: chainSetMark}, Comment: "To a Service"})
}

func (t *table) setMarks(hosts []HostEndpoint) []filter.Rule {
	if NewEndpointMarks(t.Marks).Room() == 0 {
		return []filter.Rule{{Action: filter.Drop{}, Comment: "The mark has no bits left for endpoints"}}
	}
	var rules []filter.Rule
	for _, prefix := range t.InterfacePrefixes {
		rules = append(rules, filter.Rule{Match: inFrom(prefix),
			Action: filter.Goto{Chain: chainSetWorkload}})
	}
	rules = append(rules, filter.Rule{Action: t.setEndpointMark(markOther)})
	if len(hosts) == 0 {
		return rules
	}
	for _, h := range hosts {
		m := filter.Match{In: filter.Interface{Name: h.Interface}}
		switch {
		case h.Interface == AnyInterface:
		case h.Mark == 0:
			rules = append(rules, filter.Rule{Match: m, Action: filter.Drop{},
				Comment: "No mark is left for the host endpoint"})
		default:
			rules = append(rules, filter.Rule{Match: m, Action: t.setEndpointMark(h.Mark)})
		}
	}
	return append(rules, filter.Rule{Match: t.marked(t.Marks.Accept), Action: t.setEndpointMark(markAllowed)})
}

// forwardMarked returns the rules of OUTPUT that decide as the chains of FORWARD do.
func (t *table) forwardMarked(hosts bool) []filter.Rule {
	rules := append([]filter.Rule{{Action: filter.ClearMark{Mask: t.Marks.every()}}}, t.tunnelForward()...)
	rules = append(rules, filter.Rule{Action: filter.Jump{Chain: chainFromMark}})
	for _, prefix := range t.InterfacePrefixes {
		rules = append(rules, filter.Rule{Match: outTo(prefix),
			Action: filter.Jump{Chain: chainTo}})
	}
	if hosts {
		rules = append(rules, filter.Rule{Action: filter.Jump{Chain: chainToHostForward}})
	}
	// A tunnel's outer packet inherits the mark of the inner one, but the node sends it.
	rules = append(rules, filter.Rule{Action: filter.ClearMark{Mask: t.Marks.Endpoint}})
	if !t.AllowReturns {
		rules = append(rules, filter.Rule{Match: t.marked(t.Marks.Accept), Action: filter.Accept{},
			Comment: "Policy explicitly accepted packet."})
	}
	return rules
}

// fromMarks returns the rules that send a packet to the chain of the endpoint that its mark names. A workload's packets
// pass the chain of the host endpoint for all interfaces first.
func (t *table) fromMarks(all []HostEndpoint, endpoints []Endpoint) []filter.Rule {
	other := filter.Rule{Match: t.endpointMark(markOther), Action: filter.Return{}}
	var hosts, workloads []filter.Rule
	for _, h := range all {
		chain := hostChain(prefixFromHostForward, h.Interface)
		if h.Interface == AnyInterface {
			other.Action = filter.Goto{Chain: chain}
			workloads = append(workloads, filter.Rule{Action: filter.Jump{Chain: chain}})
		} else if h.Mark != 0 {
			hosts = append(hosts, filter.Rule{Match: t.endpointMark(h.Mark), Action: filter.Goto{Chain: chain}})
		}
	}
	workloads = append(workloads, filter.Rule{Action: filter.Jump{Chain: chainNodes}})
	for _, e := range endpoints {
		if e.Mark != 0 {
			workloads = append(workloads, filter.Rule{Match: t.endpointMark(e.Mark),
				Action: filter.Goto{Chain: prefixFromWorkload + e.Interface}})
		}
	}
	done := filter.Rule{Match: t.endpointMark(markAllowed), Action: filter.Return{}}
	rest := filter.Rule{Action: filter.Drop{}, Comment: "Unknown endpoint"}
	return slices.Concat(hosts, []filter.Rule{other, done}, workloads, []filter.Rule{rest})
}
