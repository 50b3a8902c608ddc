package drivertest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// device shows a device with its addresses, permanent neighbours and forwarding entries.
func (h *host) device(name string) (string, error) {
	l, err := h.kernel.LinkByName(name)
	if err != nil {
		return "", err
	}
	a := l.Attrs()
	state := "down"
	if a.RawFlags&unix.IFF_UP != 0 {
		state = "up"
	}
	first := fmt.Sprintf("%s %s mtu %d mac %s", l.Type(), state, a.MTU, a.HardwareAddr)
	if v, ok := l.(*netlink.Vxlan); ok {
		first += fmt.Sprintf(" vni %d port %d local %s learning %v", v.VxlanId, v.Port, v.SrcAddr, v.Learning)
	}
	addrs, err := h.kernel.AddrList(l, netlink.FAMILY_ALL)
	var lines []string
	for _, addr := range addrs {
		if !addr.IP.IsLinkLocalUnicast() {
			lines = append(lines, "address "+addr.IPNet.String())
		}
	}
	for _, n := range h.neighs(a.Index) {
		lines = append(lines, describeNeigh(n))
	}
	slices.Sort(lines)
	return strings.Join(append([]string{first}, lines...), "\n"), err
}

// neighs returns the permanent neighbours and the forwarding entries of a device.
func (h *host) neighs(index int) []netlink.Neigh {
	var list []netlink.Neigh
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		neighs, err := h.kernel.NeighList(index, family)
		if err != nil {
			panic(fmt.Sprintf("list neighbours of device %d: %v", index, err))
		}
		for _, n := range neighs {
			if n.State&netlink.NUD_PERMANENT != 0 && n.IP != nil {
				n.Family = family
				list = append(list, n)
			}
		}
	}
	return list
}

func describeNeigh(n netlink.Neigh) string {
	if n.Family == unix.AF_BRIDGE {
		return fmt.Sprintf("forward %s to %s", n.HardwareAddr, n.IP)
	}
	return fmt.Sprintf("neighbour %s mac %s", n.IP, n.HardwareAddr)
}

// removeNeigh removes the neighbour of an address, or the forwarding entry of a MAC address, from a device.
func (h *host) removeNeigh(key, device string) error {
	l, err := h.kernel.LinkByName(device)
	if err != nil {
		return err
	}
	for _, n := range h.neighs(l.Attrs().Index) {
		if n.Family == unix.AF_BRIDGE && n.HardwareAddr.String() == key {
			n.Flags = netlink.NTF_SELF
			return h.kernel.NeighDel(&n)
		}
		a, err := netip.ParseAddr(key)
		if err == nil && n.Family == dataplane.FamilyOf(a).AF() && a.String() == n.IP.String() {
			return h.kernel.NeighDel(&n)
		}
	}
	return errors.New("no such entry")
}
