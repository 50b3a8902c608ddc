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

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
)

// mac is a comparable net.HardwareAddr.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// macOf returns the address, or zeros for one of another length.
func macOf(a net.HardwareAddr) mac {
	if len(a) != len(mac{}) {
		return mac{}
	}
	return mac(a)
}

// ethernetPeers are the peers of a device that carries Ethernet frames. Each has a permanent neighbour, which says the
// MAC address of its tunnel address, and a forwarding entry, which says the outer address of that MAC address.
type ethernetPeers struct {
	kernel  Kernel
	family  dataplane.Family // of the packets inside
	index   int              // of the device
	neighs  *reconcile.Loop[netip.Addr, mac]
	entries *reconcile.Loop[mac, netip.Addr]
}

func newEthernetPeers(kernel Kernel) *ethernetPeers {
	p := &ethernetPeers{kernel: kernel}
	p.neighs = reconcile.New[netip.Addr, mac](neighbours{p}, reconcile.Config[netip.Addr, mac]{
		Equal: func(a, b mac) bool { return a == b }, Compare: netip.Addr.Compare, Effect: p.neighEffect})
	p.entries = reconcile.New[mac, netip.Addr](forwarding{p}, reconcile.Config[mac, netip.Addr]{
		Equal: func(a, b netip.Addr) bool { return a == b }, Compare: compareMACs, Effect: p.entryEffect})
	return p
}

func compareMACs(a, b mac) int { return bytes.Compare(a[:], b[:]) }

// replace makes exactly these peers desired.
func (p *ethernetPeers) replace(family dataplane.Family, peers []Peer) {
	p.family = family
	neighs, entries := make(map[netip.Addr]mac, len(peers)), make(map[mac]netip.Addr, len(peers))
	for _, peer := range peers {
		m := macOf(peer.MAC)
		neighs[peer.Addr] = m
		entries[m] = peer.Outer
	}
	p.neighs.Replace(neighs)
	p.entries.Replace(entries)
}

func (p *ethernetPeers) resync() {
	p.neighs.Resync()
	p.entries.Resync()
}

// observe takes a neighbour event of the device, or dataplane.EventLost.
func (p *ethernetPeers) observe(e dataplane.Event) bool {
	neigh, entry := p.neighs.Observe(e), p.entries.Observe(e)
	return neigh || entry
}

// apply writes the forwarding entries first: without its entry, a neighbour leads nowhere.
func (p *ethernetPeers) apply(ctx context.Context) error {
	return errors.Join(p.entries.Apply(ctx), p.neighs.Apply(ctx))
}

func (p *ethernetPeers) neighEffect(e dataplane.Event) reconcile.Effect {
	m, known := p.neighs.Actual(e.Dst.Addr())
	return effectOf(e, e.Family != 0, known, m == macOf(e.MAC))
}

func (p *ethernetPeers) entryEffect(e dataplane.Event) reconcile.Effect {
	outer, known := p.entries.Actual(macOf(e.MAC))
	return effectOf(e, e.Family == 0, known, outer == e.Dst.Addr())
}

// effectOf says what a neighbour event means to one of the two loops. about reports whether the event is about its
// objects, known whether the loop knows the object, and same whether it is as the event has it.
func effectOf(e dataplane.Event, about, known, same bool) reconcile.Effect {
	switch {
	case !about, len(e.MAC) != len(mac{}) && !e.Deleted:
		return reconcile.None
	case e.Deleted && known, !e.Deleted && !(known && same):
		return reconcile.Contradicts
	}
	return reconcile.None
}

// neighbours is the target of the permanent neighbours.
type neighbours struct{ *ethernetPeers }

func (n neighbours) List(context.Context) (map[netip.Addr]mac, error) {
	list, err := n.kernel.NeighList(n.index, n.family.AF())
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	actual := map[netip.Addr]mac{}
	for _, neigh := range list {
		if ip, ok := netip.AddrFromSlice(neigh.IP); ok && neigh.State&netlink.NUD_PERMANENT != 0 {
			actual[ip] = macOf(neigh.HardwareAddr)
		}
	}
	return actual, nil
}

func (n neighbours) Update(_ context.Context, c reconcile.Change[netip.Addr, mac]) error {
	if err := n.kernel.NeighSet(n.neigh(c.Key, c.Desired)); err != nil {
		return fmt.Errorf("add neighbour %s: %w", c.Key, err)
	}
	return nil
}

func (n neighbours) Delete(_ context.Context, c reconcile.Change[netip.Addr, mac]) error {
	if err := n.kernel.NeighDel(n.neigh(c.Key, c.Actual)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete neighbour %s: %w", c.Key, err)
	}
	return nil
}

func (n neighbours) neigh(a netip.Addr, m mac) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: n.index, Family: dataplane.FamilyOf(a).AF(), State: netlink.NUD_PERMANENT,
		IP: a.AsSlice(), HardwareAddr: m[:]}
}

// forwarding is the target of the forwarding entries.
type forwarding struct{ *ethernetPeers }

func (f forwarding) List(context.Context) (map[mac]netip.Addr, error) {
	list, err := f.kernel.NeighList(f.index, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries: %w", err)
	}
	actual := map[mac]netip.Addr{}
	for _, entry := range list {
		if ip, ok := netip.AddrFromSlice(entry.IP); ok {
			actual[macOf(entry.HardwareAddr)] = ip
		}
	}
	return actual, nil
}

func (f forwarding) Update(_ context.Context, c reconcile.Change[mac, netip.Addr]) error {
	if err := f.kernel.NeighSet(f.entry(c.Key, c.Desired)); err != nil {
		return fmt.Errorf("add forwarding entry %s to %s: %w", c.Key, c.Desired, err)
	}
	return nil
}

func (f forwarding) Delete(_ context.Context, c reconcile.Change[mac, netip.Addr]) error {
	if err := f.kernel.NeighDel(f.entry(c.Key, c.Actual)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete forwarding entry %s: %w", c.Key, err)
	}
	return nil
}

func (f forwarding) entry(m mac, outer netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: f.index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT,
		Flags: netlink.NTF_SELF, IP: outer.AsSlice(), HardwareAddr: m[:]}
}
