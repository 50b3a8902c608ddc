package tunnel

import (
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/api/encap"
)

// kind is what differs between the kinds of tunnel devices.
type kind struct {
	// ethernet: the device carries Ethernet frames. Its peers are permanent neighbours and forwarding entries.
	ethernet bool
	// is reports whether a link is a device of the kind.
	is func(netlink.Link) bool
	// build returns the link to create. The parent is given by its index, or 0.
	build func(d Device, attrs netlink.LinkAttrs, parent int) netlink.Link
	// alike reports whether a link has what build wants of the attributes that the kernel cannot change later.
	alike func(want, have netlink.Link) bool
	// read returns what a link has of those attributes that a Device has fields for, and the index of its parent. Its
	// third result reports whether an attribute that a Device has no field for is wrong.
	read func(netlink.Link) (d Device, parent int, wrong bool)
}

// kinds has a row for each kind of tunnel that the driver can make.
var kinds = map[encap.Kind]kind{
	encap.VXLAN: {ethernet: true, is: isVXLAN, build: buildVXLAN, alike: alikeVXLAN, read: readVXLAN},
}

func isVXLAN(l netlink.Link) bool {
	_, ok := l.(*netlink.Vxlan)
	return ok
}

func buildVXLAN(d Device, attrs netlink.LinkAttrs, parent int) netlink.Link {
	return &netlink.Vxlan{
		LinkAttrs:    attrs,
		VxlanId:      d.VNI,
		Port:         d.Port,
		VtepDevIndex: parent,
		SrcAddr:      d.Local.AsSlice(),
		Learning:     false, // all peers are known; nothing is learned from packets
	}
}

func alikeVXLAN(want, have netlink.Link) bool {
	w, h := want.(*netlink.Vxlan), have.(*netlink.Vxlan)
	return w.VxlanId == h.VxlanId && w.Port == h.Port && w.VtepDevIndex == h.VtepDevIndex &&
		w.SrcAddr.Equal(h.SrcAddr) && w.Learning == h.Learning && w.FlowBased == h.FlowBased
}

func readVXLAN(l netlink.Link) (d Device, parent int, wrong bool) {
	v := l.(*netlink.Vxlan)
	d.VNI, d.Port = v.VxlanId, v.Port
	local, _ := netip.AddrFromSlice(v.SrcAddr)
	d.Local = local.Unmap()
	return d, v.VtepDevIndex, v.Learning || v.FlowBased
}
