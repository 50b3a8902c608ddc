package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
)

// target lists, makes and deletes the devices, for the loop.
type target struct {
	kernel  Kernel
	owned   map[string]encap.Kind
	desired func() map[string]state
	indexes map[string]int  // of the devices that exist, by name
	missing map[string]bool // parents that the last Apply did not find
	touched map[string]bool // devices of which something was changed, so that the kernel may have dropped their peers
}

// List returns the owned devices that exist and are of their kind.
func (t *target) List(context.Context) (map[string]state, error) {
	parents, err := t.parents()
	if err != nil {
		return nil, err
	}
	actual := map[string]state{}
	clear(t.indexes)
	for name, kind := range t.owned {
		l, err := t.find(name)
		if err != nil {
			return nil, fmt.Errorf("look up tunnel %s: %w", name, err)
		}
		if l == nil || !kinds[kind].is(l) {
			continue
		}
		s, parent, err := t.read(kind, l)
		if err != nil {
			return nil, fmt.Errorf("read tunnel %s: %w", name, err)
		}
		if parent != 0 {
			s.Parent = parents[parent]
			s.extra = s.extra || s.Parent == ""
		}
		actual[name] = s
		t.indexes[name] = l.Attrs().Index
	}
	return actual, nil
}

// parents returns the names of the parents of the desired devices, by index.
func (t *target) parents() (map[int]string, error) {
	names := map[int]string{}
	for _, want := range t.desired() {
		if want.Parent == "" {
			continue
		}
		l, err := t.find(want.Parent)
		if err != nil {
			return nil, fmt.Errorf("look up parent %s: %w", want.Parent, err)
		}
		if l != nil {
			names[l.Attrs().Index] = want.Parent
		}
	}
	return names, nil
}

// read returns a device as the kernel has it, but for the name of its parent.
func (t *target) read(k encap.Kind, l netlink.Link) (s state, parent int, err error) {
	attrs := l.Attrs()
	s.Device, parent, s.extra = kinds[k].read(l)
	s.Name, s.Kind, s.MTU, s.MAC = attrs.Name, k, attrs.MTU, attrs.HardwareAddr
	s.up = attrs.Flags&net.FlagUp != 0
	want, wanted := t.desired()[attrs.Name]
	if !wanted {
		return s, parent, nil
	}
	s.Family = want.Family
	addrs, err := t.addrs(l, want.Family)
	if err != nil {
		return s, parent, err
	}
	for _, a := range addrs {
		if isSingle(a, want.Addr) {
			s.Addr = want.Addr
		} else {
			s.extra = true
		}
	}
	return s, parent, nil
}

// addrs returns a device's addresses of a family but for the link-local ones.
func (t *target) addrs(l netlink.Link, family dataplane.Family) ([]netlink.Addr, error) {
	all, err := t.kernel.AddrList(l, family.AF())
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var addrs []netlink.Addr
	for _, a := range all {
		if !a.IP.IsLinkLocalUnicast() {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// isSingle reports whether a is the address addr at its full length.
func isSingle(a netlink.Addr, addr netip.Addr) bool {
	ip, _ := netip.AddrFromSlice(a.IP)
	ones, bits := a.Mask.Size()
	return ip == addr && ones == bits
}

// find looks a device up; nil if there is none.
func (t *target) find(name string) (netlink.Link, error) {
	l, err := t.kernel.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, nil
	}
	return l, err
}

// Update makes a device as desired.
func (t *target) Update(_ context.Context, c reconcile.Change[string, state]) error {
	if err := t.update(c.Desired.Device); err != nil {
		return fmt.Errorf("tunnel %s: %w", c.Key, err)
	}
	return nil
}

func (t *target) update(d Device) error {
	k := kinds[d.Kind]
	have, err := t.find(d.Name)
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	if have != nil && !k.is(have) {
		return reconcile.Unchanged(ErrForeign)
	}
	want, err := t.build(k, d)
	if err != nil {
		return reconcile.Unchanged(err)
	}
	t.touched[d.Name] = true
	if have != nil && !k.alike(want, have) {
		if err := t.kernel.LinkDel(have); err != nil {
			return fmt.Errorf("delete in order to create it again: %w", err)
		}
		have = nil
	}
	if have == nil {
		have, err = t.create(want)
		if err != nil {
			return err
		}
	}
	t.indexes[d.Name] = have.Attrs().Index
	if err := t.adjust(d, have); err != nil {
		return err
	}
	return t.setAddr(d, have)
}

// build returns the link to create.
func (t *target) build(k kind, d Device) (netlink.Link, error) {
	parent := 0
	if d.Parent != "" {
		l, err := t.find(d.Parent)
		if err != nil {
			return nil, fmt.Errorf("look up parent %s: %w", d.Parent, err)
		}
		if l == nil {
			t.missing[d.Parent] = true
			return nil, fmt.Errorf("%w: %s", ErrNoParent, d.Parent)
		}
		parent = l.Attrs().Index
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = d.Name, d.MTU, d.MAC
	return k.build(d, attrs, parent), nil
}

// create makes a device and returns it as the kernel has it.
func (t *target) create(want netlink.Link) (netlink.Link, error) {
	if err := t.kernel.LinkAdd(want); err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	l, err := t.kernel.LinkByName(want.Attrs().Name)
	if err != nil {
		return nil, fmt.Errorf("look up after creation: %w", err)
	}
	return l, nil
}

// adjust changes those attributes that can be changed.
func (t *target) adjust(d Device, l netlink.Link) error {
	attrs := l.Attrs()
	if d.MTU != 0 && attrs.MTU != d.MTU {
		if err := t.kernel.LinkSetMTU(l, d.MTU); err != nil {
			return fmt.Errorf("set mtu %d: %w", d.MTU, err)
		}
	}
	if d.MAC != nil && !bytes.Equal(attrs.HardwareAddr, d.MAC) {
		if err := t.kernel.LinkSetHardwareAddr(l, d.MAC); err != nil {
			return fmt.Errorf("set mac %s: %w", d.MAC, err)
		}
	}
	if attrs.Flags&net.FlagUp == 0 {
		if err := t.kernel.LinkSetUp(l); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return nil
}

// setAddr makes the tunnel address the device's only one of the family but for link-local ones.
func (t *target) setAddr(d Device, l netlink.Link) error {
	addrs, err := t.addrs(l, d.Family)
	if err != nil {
		return err
	}
	there := false
	for _, a := range addrs {
		if isSingle(a, d.Addr) {
			there = true
		} else if err := t.kernel.AddrDel(l, &a); err != nil {
			return fmt.Errorf("delete address %s: %w", a.IPNet, err)
		}
	}
	if there || !d.Addr.IsValid() {
		return nil
	}
	if err := t.kernel.AddrReplace(l, singleAddr(d.Addr)); err != nil {
		return fmt.Errorf("add address %s: %w", d.Addr, err)
	}
	return nil
}

func singleAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD // IPAM gives it to no other node
	}
	return addr
}

// Delete deletes a device if it is of its kind.
func (t *target) Delete(_ context.Context, c reconcile.Change[string, state]) error {
	l, err := t.find(c.Key)
	if err != nil {
		return fmt.Errorf("look up tunnel %s: %w", c.Key, err)
	}
	delete(t.indexes, c.Key)
	if l == nil || !kinds[t.owned[c.Key]].is(l) {
		return nil
	}
	if err := t.kernel.LinkDel(l); err != nil {
		return fmt.Errorf("delete tunnel %s: %w", c.Key, err)
	}
	return nil
}

// contradicts reports whether an event means that the device of a name is not as it was last seen or made.
func (t *target) contradicts(e dataplane.Event, name string, actual state, exists bool) bool {
	want, wanted := t.desired()[name]
	index := t.indexes[name]
	switch {
	case e.Kind == dataplane.EventLink && !exists:
		return e.Device == name && !e.Deleted
	case e.Kind == dataplane.EventLink:
		ours := e.Device == name || e.Index == index
		return ours && (e.Deleted || e.Device != name || e.Index != index || wanted && (!e.Up ||
			want.MTU != 0 && e.MTU != want.MTU || want.MAC != nil && !bytes.Equal(e.MAC, want.MAC)))
	case e.Kind == dataplane.EventAddr && exists && wanted:
		return e.Index == index && e.Family == want.Family && !e.Dst.Addr().IsLinkLocalUnicast() &&
			e.Deleted == (e.Dst.Addr() == actual.Addr)
	}
	return false
}
