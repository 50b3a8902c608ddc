package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/typha/wire"
)

// matchCase is a rule, and packets that it matches and does not. All go from the first pod, 10.65.0.1 and fd00:65::1,
// to the last, 10.65.0.3 and fd00:65::3. ICMP goes by the family that it is of, the rest by both but for only.
type matchCase struct {
	name     string
	rule     wire.Rule
	hit, not []probe
	only     int // family
}

func icmpType(kind uint8) *wire.ICMP { return &wire.ICMP{Type: kind} }
func icmpCode(kind, code uint8) *wire.ICMP {
	return &wire.ICMP{Type: kind, Code: code, HasCode: true}
}

// manyPorts are more than one match holds, without 80 and 443.
func manyPorts() []wire.PortRange {
	var list []wire.PortRange
	for i := range uint16(40) {
		list = append(list, wire.PortRange{First: 1000 + 10*i, Last: 1000 + 10*i + i%3})
	}
	return list
}

var matchCases = []matchCase{
	{name: "everything", hit: []probe{tcpTo(80), udpTo(80), sctpTo(80), liteTo(80), icmpOf(8, 0), icmp6Of(128, 0),
		{testProtocol, 0}}},
	{name: "TCP", rule: wire.Rule{Protocol: 6}, hit: []probe{tcpTo(80)},
		not: []probe{udpTo(80), sctpTo(80), icmpOf(8, 0), icmp6Of(128, 0)}},
	{name: "SCTP", rule: wire.Rule{Protocol: 132}, hit: []probe{sctpTo(80)},
		not: []probe{udpTo(80), tcpTo(80), liteTo(80)}},
	{name: "a number", rule: wire.Rule{Protocol: testProtocol}, hit: []probe{{testProtocol, 0}},
		not: []probe{tcpTo(80), icmpOf(8, 0)}},
	{name: "not UDP", rule: wire.Rule{NotProtocol: 17}, hit: []probe{tcpTo(80), sctpTo(80), icmpOf(8, 0),
		icmp6Of(128, 0)}, not: []probe{udpTo(80)}},
	{name: "not SCTP", rule: wire.Rule{NotProtocol: 132}, hit: []probe{tcpTo(80), udpTo(80)}, not: []probe{sctpTo(80)}},
	{name: "not ICMP", rule: wire.Rule{NotProtocol: 1}, hit: []probe{tcpTo(80), icmp6Of(128, 0)},
		not: []probe{icmpOf(8, 0)}},
	{name: "IPv4", rule: wire.Rule{Family: 4}, hit: []probe{tcpTo(80), icmpOf(8, 0)}, only: 4},
	{name: "not IPv4", rule: wire.Rule{Family: 4}, not: []probe{tcpTo(80), icmp6Of(128, 0)}, only: 6},
	{name: "IPv6", rule: wire.Rule{Family: 6}, hit: []probe{tcpTo(80), icmp6Of(128, 0)}, only: 6},
	{name: "not IPv6", rule: wire.Rule{Family: 6}, not: []probe{tcpTo(80), icmpOf(8, 0)}, only: 4},

	{name: "TCP ports", rule: wire.Rule{Protocol: 6, Dst: wire.Match{Ports: ports(80, 80, 8000, 8010)}},
		hit: []probe{tcpTo(80), tcpTo(8000), tcpTo(8010)}, not: []probe{tcpTo(79), tcpTo(8011), udpTo(80)}},
	{name: "SCTP ports", rule: wire.Rule{Protocol: 132, Dst: wire.Match{Ports: ports(80, 90)}},
		hit: []probe{sctpTo(80), sctpTo(90)}, not: []probe{sctpTo(91), tcpTo(80)}},
	{name: "UDP-Lite ports", rule: wire.Rule{Protocol: 136, Dst: wire.Match{Ports: ports(80, 90)}},
		hit: []probe{liteTo(85)}, not: []probe{liteTo(91), udpTo(85)}},
	{name: "not ports", rule: wire.Rule{Protocol: 17, Dst: wire.Match{NotPorts: ports(80, 80, 443, 450)}},
		hit: []probe{udpTo(53)}, not: []probe{udpTo(80), udpTo(443), tcpTo(53)}},
	{name: "ports but one", rule: wire.Rule{Protocol: 6, Dst: wire.Match{Ports: ports(1, 1000),
		NotPorts: ports(80, 80)}}, hit: []probe{tcpTo(81)}, not: []probe{tcpTo(80), tcpTo(1001)}},
	{name: "many ports", rule: wire.Rule{Protocol: 6, Dst: wire.Match{Ports: manyPorts()}},
		hit: []probe{tcpTo(1000), tcpTo(1202), tcpTo(1390)}, not: []probe{tcpTo(80), tcpTo(1009), tcpTo(1394)}},
	{name: "not many ports", rule: wire.Rule{Protocol: 6, Dst: wire.Match{NotPorts: manyPorts()}},
		hit: []probe{tcpTo(80), tcpTo(1009)}, not: []probe{tcpTo(1000), tcpTo(1202), tcpTo(1390)}},
	{name: "source ports", rule: wire.Rule{Protocol: 17, Src: wire.Match{Ports: ports(20000, 65535)}},
		hit: []probe{udpTo(1)}},
	{name: "no source port", rule: wire.Rule{Protocol: 17, Src: wire.Match{Ports: ports(0, 19999)}},
		not: []probe{udpTo(1)}},

	{name: "ICMP type", rule: wire.Rule{Protocol: 1, ICMP: icmpType(8)}, hit: []probe{icmpOf(8, 0), icmpOf(8, 3)},
		not: []probe{icmpOf(13, 0), icmp6Of(128, 0), tcpTo(80)}},
	{name: "ICMP code", rule: wire.Rule{Protocol: 1, ICMP: icmpCode(8, 3)}, hit: []probe{icmpOf(8, 3)},
		not: []probe{icmpOf(8, 0), icmpOf(13, 3)}},
	{name: "ICMP code 0", rule: wire.Rule{Protocol: 1, ICMP: icmpCode(8, 0)}, hit: []probe{icmpOf(8, 0)},
		not: []probe{icmpOf(8, 3)}},
	{name: "not ICMP type", rule: wire.Rule{Protocol: 1, NotICMP: icmpType(8)}, hit: []probe{icmpOf(13, 0)},
		not: []probe{icmpOf(8, 0), icmpOf(8, 3), tcpTo(80)}},
	{name: "not ICMP code", rule: wire.Rule{Protocol: 1, NotICMP: icmpCode(8, 3)},
		hit: []probe{icmpOf(8, 0), icmpOf(13, 0)}, not: []probe{icmpOf(8, 3)}},
	{name: "ICMP type but a code", rule: wire.Rule{Protocol: 1, ICMP: icmpType(8), NotICMP: icmpCode(8, 3)},
		hit: []probe{icmpOf(8, 0)}, not: []probe{icmpOf(8, 3), icmpOf(13, 0)}},
	{name: "ICMPv6 type but a code", rule: wire.Rule{Protocol: 58, ICMP: icmpType(128), NotICMP: icmpCode(128, 3)},
		hit: []probe{icmp6Of(128, 0)}, not: []probe{icmp6Of(128, 3), icmpOf(8, 0)}},
	{name: "ICMPv6 code", rule: wire.Rule{Protocol: 58, ICMP: icmpCode(128, 3)}, hit: []probe{icmp6Of(128, 3)},
		not: []probe{icmp6Of(128, 0)}},

	{name: "nets", rule: wire.Rule{Src: wire.Match{Nets: prefixes("10.65.0.0/31", "fd00:65::/127")}},
		hit: []probe{tcpTo(80), udpTo(80), sctpTo(80)}},
	{name: "other nets", rule: wire.Rule{Src: wire.Match{Nets: prefixes("10.65.0.2/31", "fd00:65::2/127")}},
		not: []probe{tcpTo(80), udpTo(80), icmpOf(8, 0)}},
	{name: "nets of a family", rule: wire.Rule{Src: wire.Match{Nets: prefixes("10.65.0.0/16")}},
		not: []probe{tcpTo(80)}, only: 6},
	{name: "many nets", rule: wire.Rule{Protocol: 6, Src: wire.Match{Nets: append(manyNets(),
		prefixes("10.65.0.1/32", "fd00:65::1/128")...)},
		Dst: wire.Match{Nets: append(manyNets(), prefixes("10.65.0.3/32", "fd00:65::3/128")...), Ports: manyPorts()}},
		hit: []probe{tcpTo(1000), tcpTo(1390)}, not: []probe{tcpTo(80), udpTo(1000)}},
	{name: "none of many nets", rule: wire.Rule{Src: wire.Match{Nets: manyNets()}}, not: []probe{tcpTo(80)}},
	{name: "not many nets", rule: wire.Rule{Protocol: 17, Src: wire.Match{NotNets: manyNets()}},
		hit: []probe{udpTo(80)}, not: []probe{tcpTo(80)}},
	{name: "not this one of many", rule: wire.Rule{Src: wire.Match{NotNets: append(manyNets(),
		prefixes("10.65.0.0/24", "fd00:65::/64")...)}}, not: []probe{udpTo(80)}},
	{name: "a net but one", rule: wire.Rule{Src: wire.Match{Nets: prefixes("10.65.0.0/24", "fd00:65::/64"),
		NotNets: prefixes("10.65.0.1/32", "fd00:65::1/128")}}, not: []probe{tcpTo(80)}},
	{name: "all nets", rule: wire.Rule{Src: wire.Match{Nets: prefixes("0.0.0.0/0", "::/0")}},
		hit: []probe{tcpTo(80), icmpOf(8, 0), icmp6Of(128, 0)}},
	{name: "not any net", rule: wire.Rule{Src: wire.Match{NotNets: prefixes("0.0.0.0/0", "::/0")}},
		not: []probe{tcpTo(80)}},

	{name: "a set", rule: wire.Rule{Src: wire.Match{Sets: []string{"one"}}}, hit: []probe{tcpTo(80), icmpOf(8, 0)}},
	{name: "a set of everything", rule: wire.Rule{Src: wire.Match{Sets: []string{"one", "all"}},
		Dst: wire.Match{Sets: []string{"all"}}}, hit: []probe{tcpTo(80), icmp6Of(128, 0)}},
	{name: "not a set of everything", rule: wire.Rule{Src: wire.Match{NotSets: []string{"all"}}},
		not: []probe{tcpTo(80)}},
	{name: "two sets", rule: wire.Rule{Src: wire.Match{Sets: []string{"one", "last"}}}, not: []probe{tcpTo(80)}},
	{name: "a set but another", rule: wire.Rule{Src: wire.Match{Sets: []string{"one"},
		NotSets: []string{"last", "empty"}}}, hit: []probe{tcpTo(80)}},
	{name: "an empty set", rule: wire.Rule{Src: wire.Match{Sets: []string{"empty"}}}, not: []probe{tcpTo(80)}},

	{name: "ports of services", rule: wire.Rule{Dst: wire.Match{PortSets: []string{"services"}}},
		hit: []probe{tcpTo(80), udpTo(53), sctpTo(36412)}, not: []probe{tcpTo(53), udpTo(80), sctpTo(80), icmpOf(8, 0),
			{testProtocol, 80}}},
	{name: "ports of services, SCTP", rule: wire.Rule{Protocol: 132,
		Dst: wire.Match{PortSets: []string{"services"}, Ports: ports(9, 9)}},
		hit: []probe{sctpTo(36412), sctpTo(9)}, not: []probe{tcpTo(80), udpTo(53), sctpTo(80)}},
	{name: "not ports of services", rule: wire.Rule{Dst: wire.Match{NotPortSets: []string{"services"}}},
		hit: []probe{tcpTo(53), udpTo(80), icmpOf(8, 0)}, not: []probe{tcpTo(80), udpTo(53), sctpTo(36412)}},
}

// manyNets are networks that no packet is of.
func manyNets() (list []netip.Prefix) {
	for i := range 60 {
		list = append(list, prefixes(fmt.Sprintf("10.%d.0.0/16", 100+i), fmt.Sprintf("fd01:%x::/32", i))...)
	}
	return list
}

// TestMatches: as an allowing rule each lets through what it matches alone, as a denying one before a profile
// that allows, what it does not match alone.
func TestMatches(t *testing.T) {
	w := newWorld(t)
	var stations []*station
	for i, ns := range w.pods {
		stations = append(stations, newStation(t, fmt.Sprint("pod ", i), ns, podAddrs[i]...))
	}
	everything := []wire.Rule{{Action: wire.Allow}}
	policies := map[string]*wire.Policy{"kns.all": {Name: "kns.all", Ingress: everything, Egress: everything}}
	for i := range w.endpoints {
		w.endpoints[i].Policy = &wire.Endpoint{Profiles: []string{"kns.all"}}
	}
	// Connection tracking calls UDP-Lite invalid, whatever its checksum (Linux 6.18).
	w.deny, w.anyState = filter.Drop{}, true
	w.apply(t, policies)
	from, to := stations[0], stations[2]
	kerneltest.OneCPU(t)
	for family := range map[int]bool{4: true, 6: true} { // finds the neighbours
		tag := nextTag()
		from.send(t, udpTo(1), tag, to.addr(family))
		to.wait(t, udpTo(1), tag, family)
	}
	for _, c := range matchCases {
		for _, action := range []wire.Action{wire.Allow, wire.Deny} {
			c.rule.Action = action
			policies["p"] = &wire.Policy{Name: "p", Tier: "default", Ingress: []wire.Rule{c.rule}}
			e := &wire.Endpoint{Tiers: []wire.Tier{{Name: "default", Ingress: []string{"p"}, DefaultAction: wire.Pass}}}
			if action == wire.Deny {
				e.Profiles = []string{"kns.all"}
			}
			w.endpoints[2].Policy = e
			w.apply(t, policies)
			for _, family := range []int{4, 6} {
				for i, p := range append(c.hit[:len(c.hit):len(c.hit)], c.not...) {
					if c.only+family == 10 || p.protocol == 1 && family == 6 || p.protocol == 58 && family == 4 {
						continue
					}
					want := (i < len(c.hit)) == (action == wire.Allow)
					if got := passes(t, from, to, p, to.addr(family)); got != want {
						t.Errorf("%s, action %d: IPv%d %v: let through %v, want %v", c.name, action, family, p, got,
							want)
					}
				}
			}
		}
	}
}
