package fake

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// entry is a route.
type entry struct {
	family   dataplane.Family
	table    int
	dst      netip.Prefix
	priority int
	kind     int // RTN_UNICAST, …
	protocol int
	scope    int
	src      netip.Addr
	mtu      int
	hops     []hop
}

type hop struct {
	index  int
	gw     netip.Addr
	onlink bool
}

// The metrics that the kernel gives IPv6 routes without one, and those to the subnets of addresses.
const (
	defaultPriorityV6 = 1024
	subnetPriorityV6  = 256
)

// sameKey reports whether two routes cannot exist beside each other.
func (r *entry) sameKey(o *entry) bool {
	return r.family == o.family && r.table == o.table && r.dst == o.dst && r.priority == o.priority
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// entryOf returns a route message as the kernel completes it.
func entryOf(m *netlink.Route) *entry {
	r := &entry{table: m.Table, dst: prefixOf(m.Dst), priority: m.Priority, kind: m.Type, protocol: int(m.Protocol),
		scope: int(m.Scope), src: addrOf(m.Src), mtu: m.MTU, family: dataplane.IPv4}
	if r.table == 0 {
		r.table = unix.RT_TABLE_MAIN
	}
	hops := m.MultiPath
	if len(hops) == 0 && (m.LinkIndex != 0 || len(m.Gw) > 0) {
		hops = []*netlink.NexthopInfo{{LinkIndex: m.LinkIndex, Gw: m.Gw, Flags: m.Flags}}
	}
	for _, h := range hops {
		r.hops = append(r.hops, hop{h.LinkIndex, addrOf(h.Gw), h.Flags&int(netlink.FLAG_ONLINK) != 0})
	}
	six := m.Family == netlink.FAMILY_V6 || r.dst.IsValid() && r.dst.Addr().Is6()
	if six || len(r.hops) > 0 && r.hops[0].gw.Is6() {
		r.family = dataplane.IPv6
	}
	if !r.dst.IsValid() || r.dst.Bits() == 0 {
		r.dst = everything(r.family)
	}
	if r.family == dataplane.IPv6 && r.priority == 0 {
		r.priority = defaultPriorityV6
	}
	return r
}

func everything(f dataplane.Family) netip.Prefix {
	if f == dataplane.IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// RouteAdd adds a route; if there is one with its destination and metric, the error is EEXIST.
func (k *Kernel) RouteAdd(m *netlink.Route) error { return k.writeRoute("RouteAdd", m, true) }

// RouteReplace adds a route, in place of one with its destination and metric.
func (k *Kernel) RouteReplace(m *netlink.Route) error { return k.writeRoute("RouteReplace", m, false) }

func (k *Kernel) writeRoute(method string, m *netlink.Route, exclusive bool) error {
	defer k.mu.Unlock()
	if err := k.begin(method); err != nil {
		return err
	}
	r := entryOf(m)
	if r.kind == 0 {
		r.kind = unix.RTN_UNICAST
	}
	if r.protocol == 0 {
		r.protocol = unix.RTPROT_BOOT
	}
	if err := k.checkRoute(r); err != nil {
		return err
	}
	at := slices.IndexFunc(k.routes, r.sameKey)
	switch {
	case at >= 0 && exclusive:
		return unix.EEXIST
	case at >= 0:
		k.routes[at] = r
	default:
		k.routes = append(k.routes, r)
	}
	k.notifyRoute(r, false)
	return nil
}

// checkRoute refuses what the kernel refuses, and completes the devices of gateways.
func (k *Kernel) checkRoute(r *entry) error {
	if r.kind != unix.RTN_UNICAST && r.kind != unix.RTN_LOCAL {
		if len(r.hops) > 0 && r.family == dataplane.IPv4 {
			return unix.EINVAL
		}
		r.hops = nil
		return nil
	}
	if len(r.hops) == 0 {
		return unix.ENODEV
	}
	for i := range r.hops {
		if err := k.checkHop(r, &r.hops[i]); err != nil {
			return err
		}
	}
	if r.src.IsValid() && !k.isLocal(r.src) {
		return unix.EINVAL
	}
	return nil
}

func (k *Kernel) checkHop(r *entry, h *hop) error {
	d := k.links[h.index]
	if h.index != 0 && d == nil {
		return unix.ENODEV
	}
	if d != nil && !d.up() && (!h.gw.IsValid() || h.onlink || r.family == dataplane.IPv6) {
		return unix.ENETDOWN
	}
	if !h.gw.IsValid() || h.gw.IsLinkLocalUnicast() && h.gw.Is6() {
		return nil
	}
	if h.onlink {
		if d == nil {
			return unix.ENODEV
		}
		if r.family == dataplane.IPv6 && k.elsewhere(r, h) {
			return unix.EINVAL
		}
		return nil
	}
	way := k.lookUpGateway(r, h)
	if way == nil {
		return map[dataplane.Family]error{dataplane.IPv4: unix.ENETUNREACH, dataplane.IPv6: unix.EHOSTUNREACH}[r.family]
	}
	h.index = way.hops[0].index
	return nil
}

// lookUpGateway returns the route by which a gateway is on a link: the most specific one without a gateway of its own,
// over the hop's device if it names one.
func (k *Kernel) lookUpGateway(r *entry, h *hop) *entry {
	var best *entry
	for _, c := range k.routes {
		direct := len(c.hops) == 1 && !c.hops[0].gw.IsValid() && c.kind == unix.RTN_UNICAST
		if c.table != unix.RT_TABLE_MAIN || !c.dst.Contains(h.gw) || !direct {
			continue
		}
		if r.family == dataplane.IPv4 && c.scope < unix.RT_SCOPE_LINK {
			continue
		}
		if h.index != 0 && c.hops[0].index != h.index {
			continue
		}
		if best == nil || c.dst.Bits() > best.dst.Bits() {
			best = c
		}
	}
	return best
}

// elsewhere reports whether the most specific IPv6 route to an on-link gateway, other than a default route, is over
// another device: the kernel refuses such a gateway (ip6_route_check_nh_onlink, Linux 6.18).
func (k *Kernel) elsewhere(r *entry, h *hop) bool {
	var best *entry
	for _, c := range k.routes {
		if c.family == r.family && c.table == r.table && c.dst.Bits() > 0 && c.dst.Contains(h.gw) &&
			(best == nil || c.dst.Bits() > best.dst.Bits()) {
			best = c
		}
	}
	return best != nil && len(best.hops) > 0 && best.hops[0].index != h.index
}

// isLocal reports whether an address is one of a device that is up.
func (k *Kernel) isLocal(a netip.Addr) bool {
	return slices.ContainsFunc(k.addrs, func(b address) bool {
		return b.prefix.Addr() == a && k.links[b.index].up()
	})
}

// RouteDel removes the first route that has what the message says: destination and metric, and protocol, type, device
// and gateway if they are set. The error for one that does not exist is ESRCH.
func (k *Kernel) RouteDel(m *netlink.Route) error {
	defer k.mu.Unlock()
	if err := k.begin("RouteDel"); err != nil {
		return err
	}
	want := entryOf(m)
	want.priority = m.Priority
	at := slices.IndexFunc(k.routes, want.selects)
	if at < 0 {
		return unix.ESRCH
	}
	gone := k.routes[at]
	k.routes = slices.Delete(k.routes, at, at+1)
	k.notifyRoute(gone, true)
	return nil
}

// selects reports whether a deletion that says w is about a route: what w leaves out is any.
func (r *entry) selects(o *entry) bool {
	if o.family != r.family || o.table != r.table || o.dst != r.dst || r.priority != 0 && o.priority != r.priority ||
		r.protocol != 0 && o.protocol != r.protocol || r.kind != 0 && o.kind != r.kind {
		return false
	}
	for _, h := range r.hops {
		if !slices.ContainsFunc(o.hops, func(have hop) bool {
			return (h.index == 0 || h.index == have.index) && (!h.gw.IsValid() || h.gw == have.gw)
		}) {
			return false
		}
	}
	return true
}

func (k *Kernel) notifyRoute(r *entry, deleted bool) {
	k.notify(dataplane.Event{Kind: dataplane.EventRoute, Deleted: deleted, Family: r.family, Dst: r.dst,
		Table: r.table, Priority: r.priority, Protocol: r.protocol})
}

// removeRoutes removes the routes that match accepts, with events if tell is set: the kernel sends none for IPv4
// routes that go with a device or its last address.
func (k *Kernel) removeRoutes(match func(*entry) bool, tell bool) {
	k.routes = slices.DeleteFunc(k.routes, func(r *entry) bool {
		if !match(r) {
			return false
		}
		if tell {
			k.notifyRoute(r, true)
		}
		return true
	})
}

// removeRoutesOver removes the routes of a family over a device, and of a multipath route the hops over it.
func (k *Kernel) removeRoutesOver(index int, f dataplane.Family, tell bool) {
	k.removeRoutes(func(r *entry) bool {
		if r.family != f || len(r.hops) == 0 {
			return false
		}
		left := slices.DeleteFunc(slices.Clone(r.hops), func(h hop) bool { return h.index == index })
		if len(left) > 0 {
			r.hops = left
			return false
		}
		return true
	}, tell)
}

// unsetSource makes IPv6 routes that preferred an address as source do without one.
func (k *Kernel) unsetSource(a netip.Addr) {
	for _, r := range k.routes {
		if r.src == a {
			r.src = netip.Addr{}
		}
	}
}

// subnetRoute returns the kernel's own route to the subnet of an address, or nil.
func (k *Kernel) subnetRoute(a address) *entry {
	r := &entry{family: dataplane.FamilyOf(a.prefix.Addr()), table: unix.RT_TABLE_MAIN, dst: a.prefix.Masked(),
		kind: unix.RTN_UNICAST, protocol: unix.RTPROT_KERNEL, hops: []hop{{index: a.index}}}
	if r.family == dataplane.IPv6 {
		r.priority = subnetPriorityV6
		return r
	}
	r.scope, r.src = unix.RT_SCOPE_LINK, a.prefix.Addr()
	if a.prefix.Bits() == a.prefix.Addr().BitLen() {
		return nil
	}
	return r
}

func (k *Kernel) addSubnetRoute(a address) {
	r := k.subnetRoute(a)
	if r == nil || k.links[a.index].Attrs().Name == loopback {
		return
	}
	k.routes = append(k.routes, r)
	k.notifyRoute(r, false)
}

func (k *Kernel) removeSubnetRoute(a address) {
	r := k.subnetRoute(a)
	if r == nil {
		return
	}
	k.removeRoutes(func(have *entry) bool {
		return have.sameKey(r) && have.protocol == r.protocol && have.hops[0].index == a.index
	}, true)
}

// RouteListFiltered returns the routes of a family that have the filter's table and protocol, as far as the mask says
// so.
func (k *Kernel) RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	defer k.mu.Unlock()
	if err := k.begin("RouteListFiltered"); err != nil {
		return nil, err
	}
	table := unix.RT_TABLE_MAIN
	if mask&netlink.RT_FILTER_TABLE != 0 {
		table = filter.Table
	}
	var list []netlink.Route
	for _, r := range k.routes {
		if r.family.AF() != family && family != netlink.FAMILY_ALL ||
			table != unix.RT_TABLE_UNSPEC && r.table != table ||
			mask&netlink.RT_FILTER_PROTOCOL != 0 && r.protocol != int(filter.Protocol) {
			continue
		}
		list = append(list, r.message())
	}
	return list, nil
}

// message returns a route as the library shows it.
func (r *entry) message() netlink.Route {
	m := netlink.Route{Family: r.family.AF(), Table: r.table, Dst: ipNet(r.dst), Priority: r.priority, Type: r.kind,
		Protocol: netlink.RouteProtocol(r.protocol), Scope: netlink.Scope(r.scope), MTU: r.mtu, Src: slice(r.src)}
	if r.dst.Bits() == 0 && r.family == dataplane.IPv4 {
		m.Dst = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	}
	if len(r.hops) == 1 {
		m.LinkIndex, m.Gw, m.Flags = r.hops[0].index, slice(r.hops[0].gw), r.hops[0].flags()
		return m
	}
	for _, h := range r.hops {
		m.MultiPath = append(m.MultiPath, &netlink.NexthopInfo{LinkIndex: h.index, Gw: slice(h.gw), Flags: h.flags()})
	}
	if len(r.hops) == 0 && r.family == dataplane.IPv6 {
		m.LinkIndex = 1 // the loopback device, which stands for none
	}
	return m
}

func (h hop) flags() int {
	if h.onlink {
		return int(netlink.FLAG_ONLINK)
	}
	return 0
}

func slice(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}
