// Package link is the driver of VXLAN devices: the device, its tunnel address, and the permanent neighbours
// and forwarding entries of its peers.
//
// It owns the devices whose names it was given and everything on them, and touches no other device. It
// makes no routes and writes no sysctls. A device is made anew only when an attribute differs that the kernel
// cannot change. The agent's goroutine calls it.
package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
)

// The devices' names and the VNI and UDP port that Calico uses by default.
const (
	VXLANv4Name = "vxlan.calico"
	VXLANv6Name = "vxlan-v6.calico"
	VXLANVNI    = 4096
	VXLANPort   = 4789
)

// Errors that Apply wraps.
var (
	// ErrNoParent: the device that carries the outer address does not exist.
	ErrNoParent = errors.New("parent device does not exist")
	// ErrForeign: a device that is no VXLAN device has the name.
	ErrForeign = errors.New("a device of another kind has this name")
)

// Peer is another node's tunnel end point.
type Peer struct {
	Tunnel netip.Addr       // address of its VXLAN device
	MAC    net.HardwareAddr // of its VXLAN device
	Remote netip.Addr       // outer address that packets for it go to
}

// VXLAN is one desired device with its peers.
type VXLAN struct {
	Name   string           // one of the names given to New
	VNI    int              // 0 is VXLANVNI
	Port   int              // UDP; 0 is VXLANPort
	Parent string           // device that carries Local; empty lets routing decide
	Local  netip.Addr       // outer source address
	MTU    int              // bytes; 0 leaves it to the kernel
	MAC    net.HardwareAddr // nil leaves it to the kernel
	Addr   netip.Addr       // tunnel address, set as /32 or /128; invalid for none
	Peers  []Peer
}

// Kernel is what the driver needs of rtnetlink; a *netlink.Handle has it.
type Kernel interface {
	LinkByName(name string) (netlink.Link, error)
	LinkAdd(netlink.Link) error
	LinkDel(netlink.Link) error
	LinkSetMTU(netlink.Link, int) error
	LinkSetHardwareAddr(netlink.Link, net.HardwareAddr) error
	LinkSetUp(netlink.Link) error
	AddrList(netlink.Link, int) ([]netlink.Addr, error)
	AddrReplace(netlink.Link, *netlink.Addr) error
	AddrDel(netlink.Link, *netlink.Addr) error
	NeighList(index, family int) ([]netlink.Neigh, error)
	NeighSet(*netlink.Neigh) error
	NeighDel(*netlink.Neigh) error
}

// mac is a comparable net.HardwareAddr.
type mac [6]byte

// device is both sides of one device.
type device struct {
	desired *VXLAN // nil if it should not be; without its peers
	loaded  bool   // it is as desired but for its peers, and those have been read
	link    netlink.Link
	neighs  *delta.Map[netip.Addr, mac] // by tunnel address
	entries *delta.Map[mac, netip.Addr] // forwarding: MAC to outer address
}

// Devices is the driver.
type Devices struct {
	kernel  Kernel
	devices map[string]*device
	// parents holds the parent devices that were missing.
	parents map[string]bool
}

// New returns a driver that owns the VXLAN devices of these names, and wants none of them yet.
func New(kernel Kernel, names ...string) *Devices {
	s := &Devices{kernel: kernel, devices: map[string]*device{}, parents: map[string]bool{}}
	for _, name := range names {
		s.devices[name] = &device{
			neighs:  delta.New[netip.Addr](func(a, b mac) bool { return a == b }),
			entries: delta.New[mac](func(a, b netip.Addr) bool { return a == b }),
		}
	}
	return s
}

// Set makes v desired, in place of what was desired under its name, which must be one that was given to New.
func (s *Devices) Set(v VXLAN) {
	d, ok := s.devices[v.Name]
	if !ok {
		panic("link: device " + v.Name + " is not ours")
	}
	neighs, entries := map[netip.Addr]mac{}, map[mac]netip.Addr{}
	for _, p := range v.Peers {
		m := mac(p.MAC)
		neighs[p.Tunnel] = m
		entries[m] = p.Remote
	}
	d.neighs.Replace(neighs)
	d.entries.Replace(entries)
	v.Peers = nil
	if v.VNI == 0 {
		v.VNI = VXLANVNI
	}
	if v.Port == 0 {
		v.Port = VXLANPort
	}
	if d.desired == nil || !same(*d.desired, v) {
		d.loaded = false
	}
	d.desired = &v
}

// same compares devices without their peers.
func same(a, b VXLAN) bool {
	return a.VNI == b.VNI && a.Port == b.Port && a.Parent == b.Parent && a.Local == b.Local &&
		a.MTU == b.MTU && slices.Equal(a.MAC, b.MAC) && a.Addr == b.Addr
}

// Remove makes the device of that name not desired: Apply deletes it.
func (s *Devices) Remove(name string) {
	if d, ok := s.devices[name]; ok && d.desired != nil {
		d.desired, d.loaded = nil, false
	}
}

// Name is "link".
func (s *Devices) Name() string { return "link" }

// Resync makes the next Apply read devices, addresses, neighbours and forwarding entries back.
func (s *Devices) Resync() {
	for _, d := range s.devices {
		d.loaded = false
	}
}

// Observe takes link, address and neighbour events.
func (s *Devices) Observe(e dataplane.Event) bool {
	if e.Kind == dataplane.EventLost {
		s.Resync()
		return true
	}
	retry := e.Kind == dataplane.EventLink && !e.Deleted && s.parents[e.Device]
	for name, d := range s.devices {
		if d.loaded && d.contradicts(name, e) {
			d.loaded = false
			return true
		}
	}
	return retry
}

// contradicts reports whether the event is not what a device that is as desired would tell.
func (d *device) contradicts(name string, e dataplane.Event) bool {
	if d.desired == nil {
		return e.Kind == dataplane.EventLink && e.Device == name && !e.Deleted
	}
	attrs := d.link.Attrs()
	if e.Kind == dataplane.EventLink {
		ours := e.Device == name || e.Index == attrs.Index
		return ours && (e.Deleted || !e.Up || e.Device != name || e.Index != attrs.Index ||
			d.desired.MTU != 0 && e.MTU != d.desired.MTU || d.desired.MAC != nil && !slices.Equal(e.MAC, d.desired.MAC))
	}
	if e.Index != attrs.Index {
		return false
	}
	switch {
	case e.Kind == dataplane.EventAddr:
		if e.Dst.Addr().IsLinkLocalUnicast() || dataplane.FamilyOf(d.desired.Local) != e.Family {
			return false
		}
		return e.Deleted == (e.Dst.Addr() == d.desired.Addr)
	case e.Kind != dataplane.EventNeigh || len(e.MAC) != len(mac{}) && !e.Deleted:
		return false
	case e.Family == 0:
		remote, ok := d.entries.Actual(macOf(e.MAC))
		return e.Deleted == ok || !e.Deleted && remote != e.Dst.Addr()
	default:
		m, ok := d.neighs.Actual(e.Dst.Addr())
		return e.Deleted == ok || !e.Deleted && m != macOf(e.MAC)
	}
}

// macOf returns the address, or zeros for one of another length.
func macOf(a net.HardwareAddr) mac {
	if len(a) != len(mac{}) {
		return mac{}
	}
	return mac(a)
}

// Apply makes devices and peers match.
func (s *Devices) Apply(ctx context.Context) error {
	clear(s.parents)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.devices)) {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := s.apply(name, s.devices[name]); err != nil {
			errs = append(errs, fmt.Errorf("device %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Devices) apply(name string, d *device) error {
	if !d.loaded {
		if err := s.settle(name, d); err != nil {
			return err
		}
		d.loaded = true
	}
	if d.desired == nil {
		return nil
	}
	if err := s.applyPeers(d); err != nil {
		d.loaded = false
		return err
	}
	return nil
}
