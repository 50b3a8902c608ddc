package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// settle makes everything of a device but its peers as desired, and reads the peers.
func (s *Devices) settle(name string, d *device) error {
	have, err := s.find(name)
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	if d.desired == nil {
		if vx, ok := have.(*netlink.Vxlan); ok {
			if err := s.kernel.LinkDel(vx); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
		}
		return nil
	}
	want, err := s.build(*d.desired)
	if err != nil {
		return err
	}
	vx, ok := have.(*netlink.Vxlan)
	switch {
	case have != nil && !ok:
		return ErrForeign
	case have != nil && !alike(want, vx):
		if err := s.kernel.LinkDel(vx); err != nil {
			return fmt.Errorf("delete to make it anew: %w", err)
		}
		have = nil
	}
	if have == nil {
		if err := s.kernel.LinkAdd(want); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		if vx, err = s.created(name); err != nil {
			return err
		}
	}
	d.link = vx
	if err := s.adjust(*d.desired, vx); err != nil {
		return err
	}
	if err := s.settleAddr(*d.desired, vx); err != nil {
		return err
	}
	return s.loadPeers(d)
}

// find looks a device up; nil if there is none.
func (s *Devices) find(name string) (netlink.Link, error) {
	l, err := s.kernel.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, nil
	}
	return l, err
}

func (s *Devices) created(name string) (*netlink.Vxlan, error) {
	l, err := s.kernel.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("look up what was created: %w", err)
	}
	vx, ok := l.(*netlink.Vxlan)
	if !ok {
		return nil, ErrForeign
	}
	return vx, nil
}

// build returns the device as the library takes it.
func (s *Devices) build(v VXLAN) (*netlink.Vxlan, error) {
	parent := 0
	if v.Parent != "" {
		l, err := s.find(v.Parent)
		if err != nil {
			return nil, fmt.Errorf("look up parent %s: %w", v.Parent, err)
		}
		if l == nil {
			s.parents[v.Parent] = true
			return nil, fmt.Errorf("%w: %s", ErrNoParent, v.Parent)
		}
		parent = l.Attrs().Index
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = v.Name, v.MTU, v.MAC
	return &netlink.Vxlan{
		LinkAttrs:    attrs,
		VxlanId:      v.VNI,
		Port:         v.Port,
		VtepDevIndex: parent,
		SrcAddr:      v.Local.AsSlice(),
		Learning:     false, // peers are known; nothing is to be learned from packets
	}, nil
}

// alike reports whether what the kernel cannot change, or not while in use, is as wanted.
func alike(want, have *netlink.Vxlan) bool {
	return want.VxlanId == have.VxlanId && want.Port == have.Port && want.VtepDevIndex == have.VtepDevIndex &&
		want.SrcAddr.Equal(have.SrcAddr) && want.Learning == have.Learning && want.FlowBased == have.FlowBased
}

// adjust changes what can be changed.
func (s *Devices) adjust(v VXLAN, l netlink.Link) error {
	attrs := l.Attrs()
	if v.MTU != 0 && attrs.MTU != v.MTU {
		if err := s.kernel.LinkSetMTU(l, v.MTU); err != nil {
			return fmt.Errorf("set mtu %d: %w", v.MTU, err)
		}
	}
	if v.MAC != nil && !slices.Equal(attrs.HardwareAddr, v.MAC) {
		if err := s.kernel.LinkSetHardwareAddr(l, v.MAC); err != nil {
			return fmt.Errorf("set mac %s: %w", v.MAC, err)
		}
	}
	if attrs.Flags&net.FlagUp == 0 {
		if err := s.kernel.LinkSetUp(l); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return nil
}

// settleAddr makes the tunnel address the device's only one but for link-local ones.
func (s *Devices) settleAddr(v VXLAN, l netlink.Link) error {
	family := dataplane.FamilyOf(v.Local)
	addrs, err := s.kernel.AddrList(l, family.AF())
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	there := false
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		ones, bits := a.Mask.Size()
		switch {
		case ip == v.Addr && ones == bits:
			there = true
		case !ip.IsLinkLocalUnicast():
			if err := s.kernel.AddrDel(l, &a); err != nil {
				return fmt.Errorf("delete address %s: %w", a.IPNet, err)
			}
		}
	}
	if there || !v.Addr.IsValid() {
		return nil
	}
	if err := s.kernel.AddrReplace(l, tunnelAddr(v.Addr)); err != nil {
		return fmt.Errorf("add address %s: %w", v.Addr, err)
	}
	return nil
}
