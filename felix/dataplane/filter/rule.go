// Package filter is the model of packet filtering and address translation above the kernel: rules, chains, sets of
// addresses, and dispatch by interface.
//
// It says what is wanted, and never how the kernel is told: the packages below it, one a backend, do that. It is made
// of values, has no state and does no I/O. Package policy renders it; the owner of the backends hands it to them on its
// one goroutine.
package filter

import "net/netip"

// Rule is one rule: what it does to the packets that match. Without an Action it only counts them.
type Rule struct {
	Match   Match
	Action  Action
	Effect  Effect
	Comment string // for people; may be empty
}

// Effect says what it means for a packet that a rule matches it. A backend needs it to change sets in an order that
// opens nothing.
type Effect uint8

// The effects.
const (
	// ByAction is Opens for Accept, Closes for Drop and Reject, Neutral for rules that only count, log or translate,
	// and otherwise unknown.
	ByAction Effect = iota
	// Opens is set if a packet that the rule matches passes wherever it would pass without the rule.
	Opens
	// Closes is set if a packet that the rule matches passes nowhere that it would not pass without the rule.
	Closes
	// Neutral is set if the rule does not decide which packets pass.
	Neutral
)

// Match is what a packet must be for a rule to apply. Every field that is not zero must hold. The elements of a list
// are alternatives, but for Sets: the address must be in every one of them.
type Match struct {
	In, Out Interface
	// Protocol is an IANA number, and NotProtocol every other protocol. ICMP is 1 in IPv4 and 58 in IPv6.
	Protocol, NotProtocol uint8
	// ICMP and NotICMP need a Protocol that is the family's ICMP.
	ICMP, NotICMP *ICMP
	Source, Dest  End
	Mark          Mark
	// State holds the states of the packet's connection of which one must be true, NotState those that must not.
	State, NotState State
}

// Interface is a device, or, with Prefix, every device whose name begins with Name. Without a Name it matches any.
type Interface struct {
	Name   string
	Prefix bool
}

// ICMP is a type of ICMP messages, and, with HasCode, one code of it.
type ICMP struct {
	Type, Code uint8
	HasCode    bool
}

// End is one end of a packet: an address and a port. Ports need a Match with a Protocol that has them. PortSets do not:
// their members have protocols of their own.
type End struct {
	// Local is set for an address of the node itself, as routing sees it.
	Local         bool
	Nets, NotNets []netip.Prefix // of the family; NotNets never holds the network of all addresses
	Sets, NotSets []string       // ids of sets of SetNets
	// Ports and PortSets together are one list of alternatives.
	Ports, NotPorts       []PortRange
	PortSets, NotPortSets []string // ids of sets of SetPorts
}

// PortRange is First to Last inclusive.
type PortRange struct {
	First, Last uint16
}

// Mark matches a packet whose mark, of the bits in Mask, is Value, or, with Not, any other. With an empty Mask it
// matches every packet.
type Mark struct {
	Value, Mask uint32
	Not         bool
}

// State is a set of states of a packet's connection.
type State uint8

// The states.
const (
	New State = 1 << iota
	Established
	Related
	Invalid
	Untracked
	// Translated is set when the connection's destination was translated.
	Translated
)
