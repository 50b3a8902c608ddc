package fake

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// address is an address of a device.
type address struct {
	index  int
	prefix netip.Prefix // the address with the length of its subnet
	flags  int
	scope  int
}

func isUp(a *netlink.LinkAttrs) bool { return a.Flags&net.FlagUp != 0 }

// snapshot returns a copy of a link, as the library makes one from the kernel's answer.
func snapshot(l netlink.Link) netlink.Link {
	attrs := *l.Attrs()
	attrs.HardwareAddr = slices.Clone(attrs.HardwareAddr)
	switch l := l.(type) {
	case *netlink.Vxlan:
		c := *l
		c.LinkAttrs = attrs
		return &c
	case *netlink.Veth:
		return &netlink.Veth{LinkAttrs: attrs}
	case *netlink.Bridge:
		return &netlink.Bridge{LinkAttrs: attrs}
	default:
		return &netlink.GenericLink{LinkAttrs: attrs, LinkType: l.Type()}
	}
}

// LinkAdd makes a device, down. The other end of a veth pair is made in the namespace that the pair names, or in the
// same.
func (k *Kernel) LinkAdd(l netlink.Link) error {
	peerHome, err := k.peerNamespace(l)
	if err != nil {
		return err
	}
	defer k.mu.Unlock()
	if err := k.begin("LinkAdd"); err != nil {
		return err
	}
	if peerHome != k {
		peerHome.mu.Lock()
		defer peerHome.mu.Unlock()
	}
	veth, isVeth := l.(*netlink.Veth)
	if k.find(l.Attrs().Name) != nil || isVeth && peerHome.find(veth.PeerName) != nil {
		return unix.EEXIST
	}
	if vx, ok := l.(*netlink.Vxlan); ok && vx.VtepDevIndex != 0 && k.links[vx.VtepDevIndex] == nil {
		return unix.ENODEV
	}
	d := k.addDevice(l)
	l.Attrs().Index = d.Attrs().Index
	if isVeth {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = veth.PeerName, veth.MTU, veth.PeerHardwareAddr
		peer := peerHome.addDevice(&netlink.Veth{LinkAttrs: attrs})
		d.peer, d.home, peer.peer, peer.home = peer.Attrs().Index, peerHome, d.Attrs().Index, k
		d.Attrs().ParentIndex, peer.Attrs().ParentIndex = d.peer, peer.peer
	}
	return nil
}

// defaultMTU is that of Ethernet devices, in octets.
const defaultMTU = 1500

func (k *Kernel) addDevice(l netlink.Link) *device {
	d := &device{Link: snapshot(l)}
	attrs := d.Attrs()
	attrs.Index = k.next
	k.next++
	attrs.MTU = cmp.Or(attrs.MTU, defaultMTU)
	if len(attrs.HardwareAddr) == 0 && attrs.Name != loopback {
		attrs.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 0, 0, byte(attrs.Index)}
	}
	k.links[attrs.Index] = d
	k.addSettings(attrs.Name)
	k.notifyLink(d, false)
	return d
}

func (k *Kernel) notifyLink(d *device, deleted bool) {
	a := d.Attrs()
	k.notify(dataplane.Event{Kind: dataplane.EventLink, Deleted: deleted, Device: a.Name, Index: a.Index,
		Up: d.up() && !deleted, MTU: a.MTU, MAC: slices.Clone(a.HardwareAddr)})
}

// LinkDel removes a device, what is on it, and the other end of a veth pair.
func (k *Kernel) LinkDel(l netlink.Link) error {
	d, err := k.takeDevice(l)
	if err != nil || d.home == nil {
		return err
	}
	d.home.mu.Lock()
	defer d.home.mu.Unlock()
	if peer := d.home.links[d.peer]; peer != nil {
		d.home.removeDevice(peer)
	}
	return nil
}

func (k *Kernel) takeDevice(l netlink.Link) (*device, error) {
	defer k.mu.Unlock()
	if err := k.begin("LinkDel"); err != nil {
		return nil, err
	}
	d := k.lookUp(l)
	if d == nil {
		return nil, unix.ENODEV
	}
	k.removeDevice(d)
	return d, nil
}

// lookUp returns the device of a link by its index, or by its name if it has none; nil if there is none.
func (k *Kernel) lookUp(l netlink.Link) *device {
	if index := l.Attrs().Index; index != 0 {
		return k.links[index]
	}
	return k.find(l.Attrs().Name)
}

func (k *Kernel) removeDevice(d *device) {
	index := d.Attrs().Index
	k.removeNeighs(index, unix.AF_BRIDGE)
	if d.up() {
		k.setFlags(d, false)
	}
	for _, a := range slices.Clone(k.addrs) {
		if a.index == index {
			k.removeAddr(a)
		}
	}
	k.removeSettings(d.Attrs().Name)
	delete(k.links, index)
	k.notifyLink(d, true)
}

// LinkSetUp turns a device on. It then has the routes to the subnets of its addresses.
func (k *Kernel) LinkSetUp(l netlink.Link) error {
	return k.change("LinkSetUp", l, func(d *device) {
		if !d.up() {
			k.setFlags(d, true)
		}
	})
}

// LinkSetDown turns a device off. Its routes go, and its IPv6 addresses.
func (k *Kernel) LinkSetDown(l netlink.Link) error {
	return k.change("LinkSetDown", l, func(d *device) {
		if d.up() {
			k.setFlags(d, false)
		}
	})
}

// LinkSetMTU sets the MTU in octets.
func (k *Kernel) LinkSetMTU(l netlink.Link, mtu int) error {
	return k.change("LinkSetMTU", l, func(d *device) {
		d.Attrs().MTU = mtu
		k.notifyLink(d, false)
	})
}

// LinkSetHardwareAddr sets the MAC address.
func (k *Kernel) LinkSetHardwareAddr(l netlink.Link, mac net.HardwareAddr) error {
	return k.change("LinkSetHardwareAddr", l, func(d *device) {
		d.Attrs().HardwareAddr = slices.Clone(mac)
		k.notifyLink(d, false)
	})
}

func (k *Kernel) change(method string, l netlink.Link, do func(*device)) error {
	defer k.mu.Unlock()
	if err := k.begin(method); err != nil {
		return err
	}
	d := k.lookUp(l)
	if d == nil {
		return unix.ENODEV
	}
	do(d)
	return nil
}

func (k *Kernel) setFlags(d *device, up bool) {
	attrs := d.Attrs()
	if up {
		attrs.Flags |= net.FlagUp
		attrs.RawFlags |= unix.IFF_UP
		k.notifyLink(d, false)
		for _, a := range k.addrs {
			if a.index == attrs.Index {
				k.addSubnetRoute(a)
			}
		}
		return
	}
	attrs.Flags &^= net.FlagUp
	attrs.RawFlags &^= unix.IFF_UP
	k.notifyLink(d, false)
	k.removeRoutesOver(attrs.Index, dataplane.IPv4, false)
	k.removeNeighs(attrs.Index, unix.AF_INET)
	k.removeRoutesOver(attrs.Index, dataplane.IPv6, true)
	k.removeNeighs(attrs.Index, unix.AF_INET6)
	for _, a := range slices.Clone(k.addrs) {
		if a.index == attrs.Index && a.prefix.Addr().Is6() {
			k.removeAddr(a)
		}
	}
}

// LinkList returns all devices.
func (k *Kernel) LinkList() ([]netlink.Link, error) {
	defer k.mu.Unlock()
	if err := k.begin("LinkList"); err != nil {
		return nil, err
	}
	var list []netlink.Link
	for _, d := range k.sortedLinks() {
		list = append(list, snapshot(d.Link))
	}
	return list, nil
}

// LinkByName returns a device; the error for one that does not exist wraps netlink.LinkNotFoundError.
func (k *Kernel) LinkByName(name string) (netlink.Link, error) {
	defer k.mu.Unlock()
	if err := k.begin("LinkByName"); err != nil {
		return nil, err
	}
	if d := k.find(name); d != nil {
		return snapshot(d.Link), nil
	}
	return nil, errNoLink
}

// LinkByIndex returns a device; the error for one that does not exist wraps netlink.LinkNotFoundError.
func (k *Kernel) LinkByIndex(index int) (netlink.Link, error) {
	defer k.mu.Unlock()
	if err := k.begin("LinkByIndex"); err != nil {
		return nil, err
	}
	if d := k.links[index]; d != nil {
		return snapshot(d.Link), nil
	}
	return nil, errNoLink
}

// LinkSetIP6AddrGenMode changes nothing: the fake makes no addresses by itself.
func (k *Kernel) LinkSetIP6AddrGenMode(l netlink.Link, _ int) error {
	return k.change("LinkSetIP6AddrGenMode", l, func(*device) {})
}

// AddrAdd adds an address; if the device has it already, the error is EEXIST.
func (k *Kernel) AddrAdd(l netlink.Link, a *netlink.Addr) error {
	return k.addAddr("AddrAdd", l, a, true)
}

// AddrReplace adds an address unless the device has it already.
func (k *Kernel) AddrReplace(l netlink.Link, a *netlink.Addr) error {
	return k.addAddr("AddrReplace", l, a, false)
}

func (k *Kernel) addAddr(method string, l netlink.Link, a *netlink.Addr, exclusive bool) error {
	defer k.mu.Unlock()
	if err := k.begin(method); err != nil {
		return err
	}
	d := k.lookUp(l)
	if d == nil {
		return unix.ENODEV
	}
	have := address{index: d.Attrs().Index, prefix: prefixOf(a.IPNet), flags: a.Flags, scope: a.Scope}
	if k.hasAddr(have) {
		if exclusive {
			return unix.EEXIST
		}
		return nil
	}
	k.addrs = append(k.addrs, have)
	if d.up() && have.prefix.Addr().Is6() {
		k.addSubnetRoute(have)
	}
	k.notifyAddr(have, false)
	if d.up() && have.prefix.Addr().Is4() {
		k.addSubnetRoute(have)
	}
	return nil
}

func (k *Kernel) hasAddr(a address) bool {
	return slices.ContainsFunc(k.addrs, func(b address) bool { return a.index == b.index && a.prefix == b.prefix })
}

func (k *Kernel) notifyAddr(a address, deleted bool) {
	k.notify(dataplane.Event{Kind: dataplane.EventAddr, Deleted: deleted, Family: dataplane.FamilyOf(a.prefix.Addr()),
		Index: a.index, Dst: a.prefix})
}

// AddrDel removes an address, and the routes that go with it.
func (k *Kernel) AddrDel(l netlink.Link, a *netlink.Addr) error {
	defer k.mu.Unlock()
	if err := k.begin("AddrDel"); err != nil {
		return err
	}
	d := k.lookUp(l)
	if d == nil {
		return unix.ENODEV
	}
	have := address{index: d.Attrs().Index, prefix: prefixOf(a.IPNet)}
	if !k.hasAddr(have) {
		return unix.EADDRNOTAVAIL
	}
	k.removeAddr(have)
	return nil
}

func (k *Kernel) removeAddr(a address) {
	k.addrs = slices.DeleteFunc(k.addrs, func(b address) bool { return a.index == b.index && a.prefix == b.prefix })
	k.notifyAddr(a, true)
	k.removeSubnetRoute(a)
	if a.prefix.Addr().Is6() {
		k.unsetSource(a.prefix.Addr())
		return
	}
	if !k.isLocal(a.prefix.Addr()) {
		k.removeRoutes(func(r *entry) bool { return r.src == a.prefix.Addr() }, true)
	}
	last := !slices.ContainsFunc(k.addrs, func(b address) bool { return b.index == a.index && b.prefix.Addr().Is4() })
	if last {
		k.removeRoutesOver(a.index, dataplane.IPv4, false)
		k.removeNeighs(a.index, unix.AF_INET)
	}
}

// AddrList returns the addresses of a device, or of all of them if link is nil, of one family or of all.
func (k *Kernel) AddrList(link netlink.Link, family int) ([]netlink.Addr, error) {
	defer k.mu.Unlock()
	if err := k.begin("AddrList"); err != nil {
		return nil, err
	}
	var list []netlink.Addr
	for _, a := range k.addrs {
		of := dataplane.FamilyOf(a.prefix.Addr()).AF()
		if link != nil && link.Attrs().Index != a.index || family != netlink.FAMILY_ALL && family != of {
			continue
		}
		n := ipNet(a.prefix)
		n.IP = a.prefix.Addr().AsSlice()
		list = append(list, netlink.Addr{IPNet: n, LinkIndex: a.index, Flags: a.flags, Scope: a.scope})
	}
	return list, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	if a.Is4In6() && len(n.Mask) == net.IPv4len {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
