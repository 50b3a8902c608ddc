// Package link is the driver of VXLAN devices: the device, its tunnel address, and the permanent neighbours
// and forwarding entries of its peers.
//
// It owns the devices whose names it was given and everything on them, and touches no other device. It
// makes no routes and writes no sysctls. A device is made anew only when an attribute differs that the kernel
// cannot change. The agent's goroutine calls it.
package link

import (
	"context"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// The devices' names and the VNI and UDP port that Calico uses by default.
const (
	VXLANv4Name = "vxlan.calico"
	VXLANv6Name = "vxlan-v6.calico"
	VXLANVNI    = 4096
	VXLANPort   = 4789
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
	Parent string           // device that carries Local
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
	NeighAppend(*netlink.Neigh) error
	NeighDel(*netlink.Neigh) error
}

// Devices is the driver.
type Devices struct{}

// New returns a driver that owns the VXLAN devices of these names, and wants none of them yet.
func New(kernel Kernel, names ...string) *Devices { return &Devices{} }

// Set makes d desired, in place of what was desired under its name. The driver keeps d.Peers; the caller does
// not change the slice afterwards.
func (s *Devices) Set(d VXLAN) {}

// Remove makes the device of that name not desired: Apply deletes it.
func (s *Devices) Remove(name string) {}

// Name is "link".
func (s *Devices) Name() string { return "link" }

// Resync makes the next Apply read devices, addresses, neighbours and forwarding entries back.
func (s *Devices) Resync() {}

// Observe takes link, address and neighbour events.
func (s *Devices) Observe(e dataplane.Event) bool { return false }

// Apply makes devices and peers match.
func (s *Devices) Apply(ctx context.Context) error { panic("not built yet") }
