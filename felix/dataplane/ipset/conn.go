package ipset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// Numbers of the kernel's interface, include/uapi/linux/netfilter/ipset/ip_set.h.
const (
	protocol = 6 // understood since Linux 2.6.39
	revision = 1 // of the set types: all that is used here, and old tools can read it

	cmdCreate  = 2
	cmdDestroy = 3
	cmdSwap    = 6
	cmdList    = 7
	cmdAdd     = 9
	cmdDel     = 10

	attrProtocol = 1
	attrSetName  = 2
	attrTypeName = 3
	attrSetName2 = 3 // of cmdSwap
	attrRevision = 4
	attrFamily   = 5
	attrFlags    = 6
	attrData     = 7
	attrADT      = 8
	attrLine     = 9

	// In attrData.
	attrIP         = 1
	attrCIDR       = 3
	attrPort       = 4
	attrProto      = 7
	attrHashSize   = 18
	attrMaxElem    = 19
	attrElements   = 24
	attrReferences = 25

	// In attrIP.
	attrIPv4 = 1
	attrIPv6 = 2

	flagListHeader = 1 << 2

	netOrder = netlink.NetByteOrder
)

// batch is how many members go into one message. The attribute that holds them is at most 64 KiB.
const batch = 1000

// Errors of the kernel's that have no errno, from the same header.
var kernelErrors = map[syscall.Errno]string{
	4098: "the kernel has no such set type",
	4099: "too many sets",
	4100: "a rule names the set",
	4102: "the sets are of different types",
	4103: "exists already",
	4108: "a list of sets names the set",
	4352: "the set is full",
}

// conn is a netlink connection to the ipset subsystem.
type conn struct {
	nl     *netlink.Conn
	family dataplane.Family
}

// Dial connects to the kernel in the calling thread's network namespace.
func Dial(f dataplane.Family) (Kernel, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink for ip sets: %w", err)
	}
	return &conn{nl: c, family: f}, nil
}

func (c *conn) Close() error { return c.nl.Close() }

// execute sends a command and returns what the kernel answers, without the netfilter header.
func (c *conn) execute(cmd int, flags netlink.HeaderFlags,
	encode func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Uint8(attrProtocol, protocol)
	encode(e)
	attrs, err := e.Encode()
	if err != nil {
		return nil, err
	}
	msgs, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_IPSET<<8 | cmd),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{byte(c.family.AF()), unix.NFNETLINK_V0, 0, 0}, attrs...),
	})
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if text, ok := kernelErrors[errno]; ok {
			return nil, errors.New(text)
		}
		return nil, errno
	}
	return msgs, err
}

func (c *conn) Create(h Header) error {
	hashSize := uint32(64) // the kernel's least; it doubles by itself
	for int(hashSize) < h.Elements/4 && hashSize < 1<<18 {
		hashSize *= 2
	}
	_, err := c.execute(cmdCreate, netlink.Acknowledge|netlink.Excl, func(e *netlink.AttributeEncoder) {
		e.String(attrSetName, h.Name)
		e.String(attrTypeName, string(h.Type))
		e.Uint8(attrRevision, revision)
		e.Uint8(attrFamily, uint8(h.Family.AF()))
		e.Nested(attrData, func(e *netlink.AttributeEncoder) error {
			e.Uint32(attrHashSize|netOrder, hashSize)
			e.Uint32(attrMaxElem|netOrder, h.MaxElements)
			return nil
		})
	})
	return err
}

func (c *conn) Destroy(name string) error {
	_, err := c.execute(cmdDestroy, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.String(attrSetName, name)
	})
	return err
}

func (c *conn) Swap(a, b string) error {
	_, err := c.execute(cmdSwap, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
		e.String(attrSetName, a)
		e.String(attrSetName2, b)
	})
	return err
}

func (c *conn) Add(name string, members []filter.Member) error {
	return c.change(cmdAdd, name, members)
}

func (c *conn) Remove(name string, members []filter.Member) error {
	return c.change(cmdDel, name, members)
}

func (c *conn) change(cmd int, name string, members []filter.Member) error {
	for chunk := range slices.Chunk(members, batch) {
		_, err := c.execute(cmd, netlink.Acknowledge, func(e *netlink.AttributeEncoder) {
			e.String(attrSetName, name)
			e.Uint32(attrLine|netOrder, 0) // must be there with attrADT
			e.Nested(attrADT, func(e *netlink.AttributeEncoder) error {
				for _, m := range chunk {
					e.Nested(attrData, func(e *netlink.AttributeEncoder) error { return encode(m, e) })
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func encode(m filter.Member, e *netlink.AttributeEncoder) error {
	e.Nested(attrIP, func(e *netlink.AttributeEncoder) error {
		if m.Net.Addr().Is4() {
			e.Bytes(attrIPv4|netOrder, m.Net.Addr().AsSlice())
		} else {
			e.Bytes(attrIPv6|netOrder, m.Net.Addr().AsSlice())
		}
		return nil
	})
	if m.Protocol == 0 {
		e.Uint8(attrCIDR, uint8(m.Net.Bits()))
		return nil
	}
	e.Uint16(attrPort|netOrder, m.Port)
	e.Uint8(attrProto, m.Protocol)
	return nil
}

// headers lists all sets, ours or not.
func (c *conn) Headers() ([]Header, error) {
	msgs, err := c.execute(cmdList, netlink.Dump, func(e *netlink.AttributeEncoder) {
		e.Uint32(attrFlags|netOrder, flagListHeader)
	})
	if err != nil {
		return nil, err
	}
	var list []Header
	err = eachAttribute(msgs, func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case attrSetName: // begins a set
			list = append(list, Header{Name: d.String()})
		case attrTypeName:
			list[len(list)-1].Type = Type(d.String())
		case attrFamily:
			list[len(list)-1].Family = dataplane.IPv4
			if d.Uint8() == unix.AF_INET6 {
				list[len(list)-1].Family = dataplane.IPv6
			}
		case attrData:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch d.Type() {
					case attrMaxElem:
						list[len(list)-1].MaxElements = d.Uint32()
					case attrElements:
						list[len(list)-1].Elements = int(d.Uint32())
					case attrReferences:
						list[len(list)-1].References = int(d.Uint32())
					}
				}
				return nil
			})
		}
	})
	return list, err
}

func (c *conn) Members(name string) ([]filter.Member, error) {
	msgs, err := c.execute(cmdList, netlink.Dump, func(e *netlink.AttributeEncoder) {
		e.String(attrSetName, name)
	})
	if err != nil {
		return nil, err
	}
	var list []filter.Member
	err = eachAttribute(msgs, func(d *netlink.AttributeDecoder) {
		if d.Type() != attrADT {
			return
		}
		d.Nested(func(d *netlink.AttributeDecoder) error {
			for d.Next() {
				var m filter.Member
				d.Nested(func(d *netlink.AttributeDecoder) error { return decode(&m, d) })
				list = append(list, m)
			}
			return nil
		})
	})
	return list, err
}

func decode(m *filter.Member, d *netlink.AttributeDecoder) error {
	bits := -1
	var addr netip.Addr
	for d.Next() {
		switch d.Type() {
		case attrIP:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					addr, _ = netip.AddrFromSlice(d.Bytes())
				}
				return nil
			})
		case attrCIDR:
			bits = int(d.Uint8())
		case attrPort:
			m.Port = d.Uint16()
		case attrProto:
			m.Protocol = d.Uint8()
		}
	}
	if bits < 0 {
		bits = addr.BitLen()
	}
	m.Net = netip.PrefixFrom(addr, bits)
	return nil
}

// eachAttribute visits the attributes of all messages in order.
func eachAttribute(msgs []netlink.Message, visit func(*netlink.AttributeDecoder)) error {
	const headerLength = 4
	for _, m := range msgs {
		if len(m.Data) < headerLength {
			continue
		}
		d, err := netlink.NewAttributeDecoder(m.Data[headerLength:])
		if err != nil {
			return err
		}
		d.ByteOrder = binary.BigEndian
		for d.Next() {
			visit(d)
		}
		if err := d.Err(); err != nil {
			return err
		}
	}
	return nil
}
