package fake

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// same reports whether two entries have the same key: a neighbour's is its address, a forwarding entry's its MAC
// address.
func same(a, b *netlink.Neigh) bool {
	if a.LinkIndex != b.LinkIndex || a.Family != b.Family {
		return false
	}
	if a.Family == unix.AF_BRIDGE {
		return slices.Equal(a.HardwareAddr, b.HardwareAddr)
	}
	return a.IP.Equal(b.IP)
}

// normal returns an entry with its family, as the kernel keeps it.
func normal(n *netlink.Neigh) *netlink.Neigh {
	c := *n
	if a, ok := netip.AddrFromSlice(n.IP); ok && c.Family == 0 {
		c.Family = dataplane.FamilyOf(a.Unmap()).AF()
	}
	c.HardwareAddr, c.IP = slices.Clone(n.HardwareAddr), slices.Clone(n.IP)
	return &c
}

func (k *Kernel) notifyNeigh(n *netlink.Neigh, deleted bool) {
	e := dataplane.Event{Kind: dataplane.EventNeigh, Deleted: deleted, Index: n.LinkIndex, MAC: n.HardwareAddr}
	if a, ok := netip.AddrFromSlice(n.IP); ok {
		e.Dst = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		if n.Family != unix.AF_BRIDGE {
			e.Family = dataplane.FamilyOf(a.Unmap())
		}
	}
	if deleted || n.State&netlink.NUD_PERMANENT != 0 {
		k.notify(e)
	}
}

// NeighSet makes a neighbour or a forwarding entry, in place of one with the same key.
func (k *Kernel) NeighSet(n *netlink.Neigh) error {
	defer k.mu.Unlock()
	if err := k.begin("NeighSet"); err != nil {
		return err
	}
	if k.links[n.LinkIndex] == nil {
		return unix.ENODEV
	}
	c := normal(n)
	if at := k.neighOf(c); at >= 0 {
		k.neighs[at] = *c
	} else {
		k.neighs = append(k.neighs, *c)
	}
	k.notifyNeigh(c, false)
	return nil
}

func (k *Kernel) neighOf(n *netlink.Neigh) int {
	return slices.IndexFunc(k.neighs, func(have netlink.Neigh) bool { return same(&have, n) })
}

// NeighDel removes a neighbour or a forwarding entry. The error for one that does not exist is ENOENT.
func (k *Kernel) NeighDel(n *netlink.Neigh) error {
	defer k.mu.Unlock()
	if err := k.begin("NeighDel"); err != nil {
		return err
	}
	if k.links[n.LinkIndex] == nil {
		return unix.ENODEV
	}
	at := k.neighOf(normal(n))
	if at < 0 {
		return unix.ENOENT
	}
	gone := k.neighs[at]
	k.neighs = slices.Delete(k.neighs, at, at+1)
	k.notifyNeigh(&gone, true)
	return nil
}

// NeighList returns the neighbours of a device, or with AF_BRIDGE its forwarding entries.
func (k *Kernel) NeighList(index, family int) ([]netlink.Neigh, error) {
	defer k.mu.Unlock()
	if err := k.begin("NeighList"); err != nil {
		return nil, err
	}
	var list []netlink.Neigh
	for _, n := range k.neighs {
		if n.LinkIndex == index && n.Family == family {
			list = append(list, *normal(&n))
		}
	}
	return list, nil
}

// removeNeighs removes the neighbours of a device, or with AF_BRIDGE its forwarding entries.
func (k *Kernel) removeNeighs(index, family int) {
	k.neighs = slices.DeleteFunc(k.neighs, func(n netlink.Neigh) bool {
		if n.LinkIndex != index || n.Family != family {
			return false
		}
		k.notifyNeigh(&n, true)
		return true
	})
}
