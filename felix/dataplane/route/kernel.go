package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Kernel is what the driver needs of rtnetlink; a *netlink.Handle has it.
type Kernel interface {
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	RouteAdd(*netlink.Route) error
	RouteReplace(*netlink.Route) error
	RouteDel(*netlink.Route) error
	LinkList() ([]netlink.Link, error)
	LinkByName(name string) (netlink.Link, error)
}

// Open returns a connection to the kernel in the calling thread's network namespace that
// makes it filter dumps itself (strict checking, Linux 4.20). The caller closes it.
func Open() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	if err := h.SetStrictCheck(true); err != nil {
		h.Close()
		return nil, fmt.Errorf("set strict checking on rtnetlink: %w", err)
	}
	return h, nil
}

// dumpTries is how often a dump is repeated that a concurrent change made inconsistent.
const dumpTries = 5

// deviceNames returns the links' names by index.
func deviceNames(links []netlink.Link) map[int]string {
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names
}

func retryDump[T any](dump func() ([]T, error)) ([]T, error) {
	for range dumpTries - 1 {
		if list, err := dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return dump()
}

// index finds a device by name.
func (t *target) index(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	if i, ok := t.links[name]; ok && !t.doubted[name] {
		return i, nil
	}
	link, err := t.kernel.LinkByName(name)
	if err != nil {
		delete(t.links, name)
		if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
			err = ErrNoDevice
		}
		return 0, fmt.Errorf("device %s: %w", name, err)
	}
	t.links[name] = link.Attrs().Index
	delete(t.doubted, name)
	return link.Attrs().Index, nil
}

// encode returns the route as the library takes it.
func (t *target) encode(r Route) (*netlink.Route, error) {
	msg := &netlink.Route{
		Family:   t.cfg.Family.AF(),
		Table:    t.cfg.Table,
		Dst:      ipNet(r.Dst),
		Type:     int(r.Type),
		Src:      ip(r.Src),
		Protocol: netlink.RouteProtocol(r.Protocol),
		Priority: r.Priority,
		MTU:      r.MTU,
		Scope:    netlink.SCOPE_UNIVERSE,
	}
	if r.Type == Local {
		msg.Scope = netlink.SCOPE_HOST
	}
	if r.Type == Unicast && len(r.Hops) == 1 && !r.Hops[0].Gateway.IsValid() && t.cfg.Family == dataplane.IPv4 {
		msg.Scope = netlink.SCOPE_LINK
	}
	for _, h := range r.Hops {
		index, err := t.index(h.Device)
		if err != nil {
			return nil, err
		}
		flags := 0
		if h.OnLink {
			flags = int(netlink.FLAG_ONLINK)
		}
		if len(r.Hops) == 1 {
			msg.LinkIndex, msg.Gw, msg.Flags = index, ip(h.Gateway), flags
		} else {
			hop := &netlink.NexthopInfo{LinkIndex: index, Gw: ip(h.Gateway), Flags: flags}
			msg.MultiPath = append(msg.MultiPath, hop)
		}
	}
	return msg, nil
}

// decode returns the library's route as ours, normal.
func decode(family dataplane.Family, msg netlink.Route, names map[int]string) Route {
	hop := func(index int, gw net.IP, flags int) Hop {
		name, ok := names[index]
		if !ok {
			name = "#" + strconv.Itoa(index)
		}
		return Hop{Device: name, Gateway: addr(gw), OnLink: flags&int(netlink.FLAG_ONLINK) != 0}
	}
	r := Route{
		Type:     Type(msg.Type),
		Src:      addr(msg.Src),
		Protocol: int(msg.Protocol),
		Priority: msg.Priority,
		MTU:      msg.MTU,
	}
	ones := 0
	if msg.Dst != nil {
		ones, _ = msg.Dst.Mask.Size()
	}
	if ones == 0 { // the library writes IPv4's in 16 bytes
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if family == dataplane.IPv6 {
			r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	} else {
		r.Dst = netip.PrefixFrom(addr(msg.Dst.IP), ones)
	}
	for _, h := range msg.MultiPath {
		r.Hops = append(r.Hops, hop(h.LinkIndex, h.Gw, h.Flags))
	}
	if len(r.Hops) == 0 {
		r.Hops = []Hop{hop(msg.LinkIndex, msg.Gw, msg.Flags)}
	}
	return r.normal(family)
}

func ip(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}

func addr(i net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(i)
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
