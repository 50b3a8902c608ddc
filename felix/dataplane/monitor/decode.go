package monitor

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// decodeRoute makes an event of a notification of rtnetlink's; of one that is of no interest or that it does
// not understand, none.
func decodeRoute(m netlink.Message) []dataplane.Event {
	var e dataplane.Event
	ok := false
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		e, ok = decodeLink(m.Data)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		e, ok = decodeAddr(m.Data)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		e, ok = decodeRouteMessage(m.Data)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		e, ok = decodeNeigh(m.Data, m.Header.Type == unix.RTM_DELNEIGH)
	}
	if !ok {
		return nil
	}
	switch m.Header.Type {
	case unix.RTM_DELLINK, unix.RTM_DELADDR, unix.RTM_DELROUTE, unix.RTM_DELNEIGH:
		e.Deleted = true
	}
	return []dataplane.Event{e}
}

// attributes visits the attributes after a message's own header, and reports whether they could be read.
func attributes(data []byte, headerLength int, visit func(*netlink.AttributeDecoder)) bool {
	d, err := netlink.NewAttributeDecoder(data[headerLength:])
	if err != nil {
		return false
	}
	for d.Next() {
		visit(d)
	}
	return d.Err() == nil
}

func family(af byte) dataplane.Family {
	switch af {
	case unix.AF_INET:
		return dataplane.IPv4
	case unix.AF_INET6:
		return dataplane.IPv6
	}
	return 0
}

func decodeLink(b []byte) (dataplane.Event, bool) {
	e := dataplane.Event{Kind: dataplane.EventLink}
	// With the family of bridges it is about a bridge's port, not about the link.
	if len(b) < unix.SizeofIfInfomsg || b[0] == unix.AF_BRIDGE {
		return e, false
	}
	e.Index = int(binary.NativeEndian.Uint32(b[4:]))
	e.Up = binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0
	return e, attributes(b, unix.SizeofIfInfomsg, func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case unix.IFLA_IFNAME:
			e.Device = d.String()
		case unix.IFLA_MTU:
			e.MTU = int(d.Uint32())
		case unix.IFLA_ADDRESS:
			e.MAC = slices.Clone(net.HardwareAddr(d.Bytes()))
		}
	})
}

func decodeAddr(b []byte) (dataplane.Event, bool) {
	e := dataplane.Event{Kind: dataplane.EventAddr}
	if len(b) < unix.SizeofIfAddrmsg {
		return e, false
	}
	e.Family = family(b[0])
	e.Index = int(binary.NativeEndian.Uint32(b[4:]))
	local := false // which with a peer differs from the address
	ok := attributes(b, unix.SizeofIfAddrmsg, func(d *netlink.AttributeDecoder) {
		if d.Type() == unix.IFA_LOCAL || d.Type() == unix.IFA_ADDRESS && !local {
			local = d.Type() == unix.IFA_LOCAL
			e.Dst = prefix(d.Bytes(), int(b[1]))
		}
	})
	return e, ok && e.Dst.IsValid()
}

func prefix(addr []byte, bits int) netip.Prefix {
	a, _ := netip.AddrFromSlice(addr)
	return netip.PrefixFrom(a, bits)
}

func decodeRouteMessage(b []byte) (dataplane.Event, bool) {
	e := dataplane.Event{Kind: dataplane.EventRoute}
	if len(b) < unix.SizeofRtMsg || binary.NativeEndian.Uint32(b[8:])&unix.RTM_F_CLONED != 0 {
		return e, false
	}
	e.Family = family(b[0])
	if e.Family == 0 {
		return e, false
	}
	e.Table = int(b[4])
	e.Protocol = int(b[5])
	e.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), int(b[1])) // a default route has no destination attribute
	if e.Family == dataplane.IPv6 {
		e.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), int(b[1]))
	}
	ok := attributes(b, unix.SizeofRtMsg, func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case unix.RTA_DST:
			e.Dst = prefix(d.Bytes(), int(b[1]))
		case unix.RTA_PRIORITY:
			e.Priority = int(d.Uint32())
		case unix.RTA_TABLE:
			e.Table = int(d.Uint32())
		}
	})
	return e, ok && e.Table != unix.RT_TABLE_LOCAL
}

func decodeNeigh(b []byte, deleted bool) (dataplane.Event, bool) {
	e := dataplane.Event{Kind: dataplane.EventNeigh}
	if len(b) < unix.SizeofNdMsg || b[10]&unix.NTF_PROXY != 0 {
		return e, false
	}
	if !deleted && binary.NativeEndian.Uint16(b[8:])&unix.NUD_PERMANENT == 0 {
		return e, false // the kernel's own bookkeeping
	}
	e.Family = family(b[0])
	e.Index = int(binary.NativeEndian.Uint32(b[4:]))
	return e, attributes(b, unix.SizeofNdMsg, func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case unix.NDA_DST:
			e.Dst = prefix(d.Bytes(), 8*len(d.Bytes()))
		case unix.NDA_LLADDR:
			e.MAC = slices.Clone(net.HardwareAddr(d.Bytes()))
		}
	})
}

// chainDecoder collects what one nftables transaction changed: the kernel ends each with a message
// of the new generation.
type chainDecoder struct {
	changed map[chainTable]map[string]bool
}

type chainTable struct {
	family dataplane.Family
	name   string
}

// Numbers of the kernel's interface, include/uapi/linux/netfilter/nf_tables.h.
const (
	nftTable     = 1 // attribute of chains and rules: the table's name
	nftRuleChain = 2
	nftChainName = 3
)

func (c *chainDecoder) decode(m netlink.Message) []dataplane.Event {
	const headerLength = 4
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < headerLength {
		return nil
	}
	nameAttr := uint16(nftChainName)
	switch m.Header.Type & 0xff {
	case unix.NFT_MSG_NEWGEN:
		return c.flush(m.Header.PID)
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
		nameAttr = nftRuleChain
	case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
	default:
		return nil
	}
	table, chain := chainTable{}, ""
	switch m.Data[0] {
	case unix.NFPROTO_IPV4:
		table.family = dataplane.IPv4
	case unix.NFPROTO_IPV6:
		table.family = dataplane.IPv6
	default:
		return nil // not a table of iptables-nft
	}
	if !attributes(m.Data, headerLength, func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case nftTable:
			table.name = d.String()
		case nameAttr:
			chain = d.String()
		}
	}) {
		return nil
	}
	if c.changed == nil {
		c.changed = map[chainTable]map[string]bool{}
	}
	if c.changed[table] == nil {
		c.changed[table] = map[string]bool{}
	}
	c.changed[table][chain] = true
	return nil
}

func (c *chainDecoder) flush(port uint32) []dataplane.Event {
	var events []dataplane.Event
	for table, chains := range c.changed {
		events = append(events, dataplane.Event{
			Kind: dataplane.EventChains, Family: table.family, TableName: table.name,
			Chains: slices.Sorted(maps.Keys(chains)), PortID: port,
		})
	}
	c.changed = nil
	return events
}
