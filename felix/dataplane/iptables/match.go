package iptables

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Match is what a packet must be for a rule to apply: fragments of iptables arguments. Each method returns a
// longer Match and leaves its receiver as it is; start with a nil Match. Every fragment must match. Those of
// ports and of ICMP need Protocol before them.
type Match []string

func (m Match) add(format string, args ...any) Match {
	return append(m[:len(m):len(m)], fmt.Sprintf(format, args...))
}

// Protocol matches the IANA protocol number. ICMP is 1 in IPv4 and 58 in IPv6.
func (m Match) Protocol(p uint8) Match { return m.add("-p %d", p) }

// NotProtocol matches every other protocol.
func (m Match) NotProtocol(p uint8) Match { return m.add("! -p %d", p) }

// SourceNet matches a source in n.
func (m Match) SourceNet(n netip.Prefix) Match { return m.add("-s %s", n.Masked()) }

// NotSourceNet matches a source outside n.
func (m Match) NotSourceNet(n netip.Prefix) Match { return m.add("! -s %s", n.Masked()) }

// DestNet matches a destination in n.
func (m Match) DestNet(n netip.Prefix) Match { return m.add("-d %s", n.Masked()) }

// NotDestNet matches a destination outside n.
func (m Match) NotDestNet(n netip.Prefix) Match { return m.add("! -d %s", n.Masked()) }

// SourceSet matches a source that is in an IP set of networks.
func (m Match) SourceSet(set string) Match { return m.add("-m set --match-set %s src", set) }

// NotSourceSet matches a source that is not in the set.
func (m Match) NotSourceSet(set string) Match { return m.add("-m set ! --match-set %s src", set) }

// DestSet matches a destination that is in an IP set of networks.
func (m Match) DestSet(set string) Match { return m.add("-m set --match-set %s dst", set) }

// NotDestSet matches a destination that is not in the set.
func (m Match) NotDestSet(set string) Match { return m.add("-m set ! --match-set %s dst", set) }

// SourcePortSet matches a source address and port in a set of addresses and ports.
func (m Match) SourcePortSet(set string) Match { return m.add("-m set --match-set %s src,src", set) }

// NotSourcePortSet matches a source address and port that are not in the set.
func (m Match) NotSourcePortSet(set string) Match {
	return m.add("-m set ! --match-set %s src,src", set)
}

// DestPortSet matches a destination address and port in a set of addresses and ports.
func (m Match) DestPortSet(set string) Match { return m.add("-m set --match-set %s dst,dst", set) }

// NotDestPortSet matches a destination address and port that are not in the set.
func (m Match) NotDestPortSet(set string) Match {
	return m.add("-m set ! --match-set %s dst,dst", set)
}

// PortRange is First to Last inclusive.
type PortRange struct {
	First, Last uint16
}

// MaxPorts is how much one ports match holds: a range counts 2, a single port 1. SplitPorts divides a list.
const MaxPorts = 15

// SplitPorts divides a list of ranges into lists that fit one ports match each.
func SplitPorts(ports []PortRange) [][]PortRange {
	var lists [][]PortRange
	room := 0
	for _, p := range ports {
		n := 1
		if p.First != p.Last {
			n = 2
		}
		if n > room {
			lists, room = append(lists, nil), MaxPorts
		}
		lists[len(lists)-1] = append(lists[len(lists)-1], p)
		room -= n
	}
	return lists
}

func portList(ports []PortRange) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = strconv.Itoa(int(p.First))
		if p.First != p.Last {
			parts[i] += ":" + strconv.Itoa(int(p.Last))
		}
	}
	return strings.Join(parts, ",")
}

// SourcePorts matches a source port in one of the ranges, which must fit MaxPorts.
func (m Match) SourcePorts(ports ...PortRange) Match {
	return m.add("-m multiport --source-ports %s", portList(ports))
}

// NotSourcePorts matches a source port in none of the ranges.
func (m Match) NotSourcePorts(ports ...PortRange) Match {
	return m.add("-m multiport ! --source-ports %s", portList(ports))
}

// DestPorts matches a destination port in one of the ranges, which must fit MaxPorts.
func (m Match) DestPorts(ports ...PortRange) Match {
	return m.add("-m multiport --destination-ports %s", portList(ports))
}

// NotDestPorts matches a destination port in none of the ranges.
func (m Match) NotDestPorts(ports ...PortRange) Match {
	return m.add("-m multiport ! --destination-ports %s", portList(ports))
}

// ICMP says which ICMP messages to match.
type ICMP struct {
	V6      bool
	Type    uint8
	Code    uint8
	HasCode bool // otherwise every code
	Not     bool // every other message
}

// ICMP matches ICMP messages.
func (m Match) ICMP(i ICMP) Match {
	module, option, not, value := "icmp", "icmp-type", "", strconv.Itoa(int(i.Type))
	if i.V6 {
		module, option = "icmp6", "icmpv6-type"
	}
	if i.Not {
		not = "! "
	}
	if i.HasCode {
		value += "/" + strconv.Itoa(int(i.Code))
	}
	return m.add("-m %s %s--%s %s", module, not, option, value)
}

// InInterface matches the device a packet came in by; a trailing + matches any rest of the name.
func (m Match) InInterface(name string) Match { return m.add("-i %s", name) }

// NotInInterface matches every other device.
func (m Match) NotInInterface(name string) Match { return m.add("! -i %s", name) }

// OutInterface matches the device a packet goes out by, as InInterface does.
func (m Match) OutInterface(name string) Match { return m.add("-o %s", name) }

// NotOutInterface matches every other device.
func (m Match) NotOutInterface(name string) Match { return m.add("! -o %s", name) }

// Mark matches a packet whose mark, of the bits in mask, is value.
func (m Match) Mark(value, mask uint32) Match { return m.add("-m mark --mark %#x/%#x", value, mask) }

// NotMark matches every other mark.
func (m Match) NotMark(value, mask uint32) Match {
	return m.add("-m mark ! --mark %#x/%#x", value, mask)
}

// Conntrack matches the state of the packet's connection: some of "NEW", "ESTABLISHED", "RELATED", "INVALID",
// "UNTRACKED".
func (m Match) Conntrack(states ...string) Match {
	return m.add("-m conntrack --ctstate %s", strings.Join(states, ","))
}

// NotConntrack matches every other state. "DNAT" and "SNAT" are states too: the address was translated.
func (m Match) NotConntrack(states ...string) Match {
	return m.add("-m conntrack ! --ctstate %s", strings.Join(states, ","))
}

// SourceType matches a source address that routing says is of this type: "LOCAL", "UNICAST", ….
func (m Match) SourceType(t string) Match { return m.add("-m addrtype --src-type %s", t) }

// DestType matches a destination address that routing says is of this type.
func (m Match) DestType(t string) Match { return m.add("-m addrtype --dst-type %s", t) }

// NotDestType matches a destination address of any other type.
func (m Match) NotDestType(t string) Match { return m.add("-m addrtype ! --dst-type %s", t) }

// ReversePathFailed matches a packet whose source would not be reached by the device it came in by.
func (m Match) ReversePathFailed() Match { return m.add("-m rpfilter --invert --validmark") }
