package dataplane

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// AF returns the family's number in the socket and netlink interfaces.
func (f Family) AF() int {
	if f == IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// Bits is the length of an address in bits: 32 or 128.
func (f Family) Bits() int {
	if f == IPv6 {
		return 128
	}
	return 32
}

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// FamilyOf returns an address's family. An IPv4 address mapped into IPv6 counts as IPv6.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// EventKind says what kind of kernel state an Event is about, and so which of its fields are set.
type EventKind uint8

// The kinds of events.
const (
	// EventLost: the kernel had to drop notifications. Anything may have changed. No field is set.
	EventLost EventKind = iota
	// EventLink: Device, Index, Up, MTU, MAC.
	EventLink
	// EventAddr: Family, Index, Dst (the address with the length of its subnet).
	EventAddr
	// EventRoute: Family, Table, Dst, Priority, Protocol.
	EventRoute
	// EventNeigh: Index, Family, Dst (the address at full length), MAC. Family is 0 for a forwarding entry of a VXLAN
	// device, and Dst then the outer address. Of entries that were added or changed only permanent ones are told.
	EventNeigh
	// EventChains: Family, TableName, Chains, PortID.
	EventChains
)

// Event is one change of the kernel's state, whoever made it, us included. A driver's
// Observe compares it with what the driver knows, and so tells a stranger's change from its own.
type Event struct {
	Kind    EventKind
	Deleted bool // the object went; otherwise it was added or changed
	Family  Family

	Device string // name of the link
	Index  int    // index of the link
	Up     bool   // the link is administratively up
	MTU    int    // of the link, in bytes
	MAC    net.HardwareAddr

	Dst      netip.Prefix
	Table    int // routing table
	Priority int // metric
	Protocol int // routing protocol number

	TableName string   // nftables table, which iptables-nft names as iptables does: "filter"
	Chains    []string // chains that were added, deleted or whose rules changed
	PortID    uint32   // netlink port of who changed them: the process id, as a rule
}

// Observer is a driver that learns of changes from events. Observe reports whether the
// event contradicts what the driver knows; if so the next Apply reads the kernel back.
type Observer interface {
	Observe(e Event) bool
}
