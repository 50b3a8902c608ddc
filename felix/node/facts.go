// Package node finds out what this node is: its addresses, its network's MTU, and its
// tunnel addresses, which it allocates; and tells the cluster by annotations of its Node.
//
// It reads interfaces and programs nothing. A Watcher runs on its own goroutine, and publishes each
// new state as an immutable Facts, which the agent's loop receives.
package node

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/routing"
)

// Facts is what is known of the node; a value that is not changed once it was published.
type Facts struct {
	Name string
	// IPv4 and IPv6 are the node's own, as far as it has them.
	IPv4, IPv6 Addresses
	// MTU of the node's network in bytes; 0 if no interface of the pattern was found.
	MTU    int
	Labels map[string]string
	// Refused says which addresses that a user wrote for the node are not used, and why.
	Refused []string
}

// Addresses are the facts of one IP family.
type Addresses struct {
	// Addr is the node's address with the length of its subnet, invalid without one.
	Addr   netip.Prefix
	Device string // that carries Addr
	// User is Addr as a user wrote it, empty if Addr is what the Node has as InternalIP.
	User string `json:",omitempty"`
	// Connected are all subnets of the family that the node is in.
	Connected []Connected
	// Tunnels has the addresses of the node's tunnel devices, by kind. It is not changed in place.
	Tunnels map[encap.Kind]netip.Addr
}

// Connected is a subnet, written as the node's address in it, and the device that leads to it.
type Connected struct {
	Subnet netip.Prefix
	Device string
}

// Of returns the facts of one family.
func (f *Facts) Of(family dataplane.Family) *Addresses {
	if family == dataplane.IPv6 {
		return &f.IPv6
	}
	return &f.IPv4
}

// Self returns the facts of one family in routing's terms.
func (f *Facts) Self(family dataplane.Family) routing.Self {
	a := f.Of(family)
	own := make([]netip.Addr, len(a.Connected))
	for i, c := range a.Connected {
		own[i] = c.Subnet.Addr()
	}
	uplinks := map[dataplane.Family]routing.Uplink{
		dataplane.IPv4: {Addr: f.IPv4.Addr, Device: f.IPv4.Device},
		dataplane.IPv6: {Addr: f.IPv6.Addr, Device: f.IPv6.Device},
	}
	return routing.Self{Node: f.Name, Uplinks: uplinks, Own: own, Tunnels: a.Tunnels}
}

// SetTunnel sets the address of the node's tunnel device of a kind. An invalid address says that the node has none.
func (a *Addresses) SetTunnel(kind encap.Kind, addr netip.Addr) {
	tunnels := maps.Clone(a.Tunnels)
	if tunnels == nil {
		tunnels = map[encap.Kind]netip.Addr{}
	}
	tunnels[kind] = addr
	if !addr.IsValid() {
		delete(tunnels, kind)
	}
	a.Tunnels = tunnels
}

// Interfaces reads the host's network interfaces.
type Interfaces interface {
	LinkList() ([]netlink.Link, error)
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
}

// Discover makes the facts of a node that has these addresses: the first of each family counts. An
// address that no interface carries is an error.
func Discover(kernel Interfaces, name string, addrs []netip.Addr, mtuPattern *regexp.Regexp) (Facts, error) {
	facts, err := discover(kernel, name, mtuPattern)
	if err != nil {
		return facts, err
	}
	return facts, facts.setOwn(addrs)
}

// discover makes the facts but for the node's own addresses.
func discover(kernel Interfaces, name string, mtuPattern *regexp.Regexp) (Facts, error) {
	facts := Facts{Name: name}
	links, err := kernel.LinkList()
	if err != nil {
		return facts, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		attrs := l.Attrs()
		if mtuPattern.MatchString(attrs.Name) && attrs.MTU > 0 && (facts.MTU == 0 || attrs.MTU < facts.MTU) {
			facts.MTU = attrs.MTU
		}
		ours := strings.HasPrefix(attrs.Name, derive.HostInterfacePrefix) || strings.HasPrefix(attrs.Name, "vxlan")
		if ours || attrs.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
			if err := facts.connected(kernel, l, family); err != nil {
				return facts, err
			}
		}
	}
	return facts, nil
}

// setOwn sets the node's own addresses of the families that have none yet.
func (f *Facts) setOwn(addrs []netip.Addr) error {
	for _, addr := range addrs {
		a := f.Of(dataplane.FamilyOf(addr))
		if a.Addr.IsValid() {
			continue
		}
		i := slices.IndexFunc(a.Connected, func(c Connected) bool { return c.Subnet.Addr() == addr })
		if i < 0 {
			return fmt.Errorf("no interface of this node carries its address %s", addr)
		}
		a.Addr, a.Device = a.Connected[i].Subnet, a.Connected[i].Device
	}
	return nil
}

func (f *Facts) connected(kernel Interfaces, l netlink.Link, family dataplane.Family) error {
	addrs, err := kernel.AddrList(l, family.AF())
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	for _, addr := range addrs {
		ip, ok := netip.AddrFromSlice(addr.IP)
		ones, _ := addr.Mask.Size()
		ip = ip.Unmap()
		if !ok || ip.IsLinkLocalUnicast() {
			continue
		}
		a := f.Of(family)
		a.Connected = append(a.Connected, Connected{Subnet: netip.PrefixFrom(ip, ones), Device: l.Attrs().Name})
	}
	return nil
}
