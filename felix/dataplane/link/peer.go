package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

func tunnelAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD // nobody else can have it
	}
	return addr
}

// loadPeers reads permanent neighbours and the forwarding entries.
func (s *Devices) loadPeers(d *device) error {
	index := d.link.Attrs().Index
	neighs, err := s.kernel.NeighList(index, dataplane.FamilyOf(d.desired.Local).AF())
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	known := map[netip.Addr]mac{}
	for _, n := range neighs {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && n.State&netlink.NUD_PERMANENT != 0 {
			known[ip] = macOf(n.HardwareAddr)
		}
	}
	d.neighs.Load(known)

	entries, err := s.kernel.NeighList(index, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("list forwarding entries: %w", err)
	}
	forwarding := map[mac]netip.Addr{}
	for _, n := range entries {
		if ip, ok := netip.AddrFromSlice(n.IP); ok {
			forwarding[macOf(n.HardwareAddr)] = ip
		}
	}
	d.entries.Load(forwarding)
	return nil
}

// applyPeers makes neighbours and forwarding entries match.
func (s *Devices) applyPeers(d *device) error {
	var errs []error
	wanted, unwanted := d.entries.Pending()
	for _, m := range wanted {
		remote, _ := d.entries.Desired(m)
		if err := s.kernel.NeighSet(d.entry(m, remote)); err != nil {
			errs = append(errs, fmt.Errorf("add forwarding entry %s to %s: %w", net.HardwareAddr(m[:]), remote, err))
			continue
		}
		d.entries.Observe(m, remote)
	}
	for _, m := range unwanted {
		remote, _ := d.entries.Actual(m)
		if err := s.kernel.NeighDel(d.entry(m, remote)); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("delete forwarding entry %s: %w", net.HardwareAddr(m[:]), err))
			continue
		}
		d.entries.Forget(m)
	}
	wantedAddrs, unwantedAddrs := d.neighs.Pending()
	for _, a := range wantedAddrs {
		m, _ := d.neighs.Desired(a)
		if err := s.kernel.NeighSet(d.neigh(a, m)); err != nil {
			errs = append(errs, fmt.Errorf("add neighbour %s: %w", a, err))
			continue
		}
		d.neighs.Observe(a, m)
	}
	for _, a := range unwantedAddrs {
		m, _ := d.neighs.Actual(a)
		if err := s.kernel.NeighDel(d.neigh(a, m)); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("delete neighbour %s: %w", a, err))
			continue
		}
		d.neighs.Forget(a)
	}
	return errors.Join(errs...)
}

func (d *device) neigh(a netip.Addr, m mac) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    d.link.Attrs().Index,
		Family:       dataplane.FamilyOf(a).AF(),
		State:        netlink.NUD_PERMANENT,
		IP:           a.AsSlice(),
		HardwareAddr: m[:],
	}
}

func (d *device) entry(m mac, remote netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    d.link.Attrs().Index,
		Family:       unix.AF_BRIDGE,
		State:        netlink.NUD_PERMANENT,
		Flags:        netlink.NTF_SELF,
		IP:           remote.AsSlice(),
		HardwareAddr: m[:],
	}
}
