// Package tunnel is the driver of tunnel devices: the device, its address, and the other nodes that it reaches.
//
// It owns the devices whose names it was given and everything on them, and touches no other device. It makes no routes
// and writes no sysctls. A device is deleted and created again only when an attribute differs that the kernel cannot
// change. The kinds of tunnels are rows of one table, in kind.go. The agent's goroutine calls the driver.
package tunnel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
)

// Errors that Apply wraps.
var (
	// ErrNoParent: the device that carries the outer address does not exist.
	ErrNoParent = errors.New("parent device does not exist")
	// ErrForeign: a device of another kind has the name.
	ErrForeign = errors.New("a device of another kind has this name")
)

// Peer is another node's end of the tunnel.
type Peer struct {
	Addr  netip.Addr       // of its tunnel device
	MAC   net.HardwareAddr // of its tunnel device; for kinds that carry Ethernet frames
	Outer netip.Addr       // where the tunnel's packets for it go to
}

// Device is one desired tunnel device with its peers. The family of the packets inside is Family; that of the packets
// outside is Local's. They may differ.
type Device struct {
	Name   string // one of the names given to New
	Kind   encap.Kind
	Family dataplane.Family
	Parent string           // device that carries Local; empty lets routing decide
	Local  netip.Addr       // outer source address
	Addr   netip.Addr       // of the device, set as /32 or /128; invalid for none
	MTU    int              // bytes; 0 leaves it to the kernel
	MAC    net.HardwareAddr // of VXLAN; nil leaves it to the kernel
	VNI    int              // of VXLAN
	Port   int              // UDP, of VXLAN
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

// Tunnels is the driver.
type Tunnels struct {
	target *target
	loop   *reconcile.Loop[string, state] // of the devices, by name
	peers  map[string]*ethernetPeers      // of the desired devices, by name
}

// state is a device without its peers, as it is desired and as the kernel has it.
type state struct {
	Device
	up    bool
	extra bool // it has an address that is not desired, or an attribute that Device has no field for
}

// New returns a driver that owns the devices of these names, each of one kind, and desires none of them yet. It panics
// if the driver has no row for a kind.
func New(kernel Kernel, owned map[string]encap.Kind) *Tunnels {
	for name, kind := range owned {
		if _, ok := kinds[kind]; !ok {
			panic(fmt.Sprintf("tunnel: %s is of kind %s, which has no row", name, kind))
		}
	}
	t := &Tunnels{peers: map[string]*ethernetPeers{}}
	t.target = &target{kernel: kernel, owned: owned, indexes: map[string]int{}, missing: map[string]bool{},
		touched: map[string]bool{}}
	t.loop = reconcile.New(t.target, reconcile.Config[string, state]{
		Equal: satisfies, Compare: cmp.Compare[string], Effect: t.effect})
	t.target.desired = t.loop.AllDesired
	return t
}

// Replace makes exactly these devices desired. Their names must be among those given to New.
func (t *Tunnels) Replace(devices []Device) {
	desired := map[string]state{}
	for _, d := range devices {
		if t.target.owned[d.Name] != d.Kind {
			panic(fmt.Sprintf("tunnel: %s is not ours as a device of kind %s", d.Name, d.Kind))
		}
		if kinds[d.Kind].ethernet {
			if t.peers[d.Name] == nil {
				t.peers[d.Name] = newEthernetPeers(t.target.kernel)
			}
			t.peers[d.Name].replace(d.Family, d.Peers)
		}
		d.Peers = nil
		desired[d.Name] = state{Device: d, up: true}
	}
	t.loop.Replace(desired)
	maps.DeleteFunc(t.peers, func(name string, _ *ethernetPeers) bool {
		_, wanted := desired[name]
		return !wanted
	})
}

// satisfies reports whether an actual device is as good as the desired one.
func satisfies(want, have state) bool {
	mtu := want.MTU == 0 || want.MTU == have.MTU
	mac := want.MAC == nil || bytes.Equal(want.MAC, have.MAC)
	return have.up && !have.extra && mtu && mac && want.Kind == have.Kind && want.Parent == have.Parent &&
		want.Local == have.Local && want.Addr == have.Addr && want.VNI == have.VNI && want.Port == have.Port
}

// Name is "link": the metric felix_int_dataplane_driver_failures has the driver under this name.
func (t *Tunnels) Name() string { return "link" }

// Resync makes the next Apply read devices, addresses and peers back.
func (t *Tunnels) Resync() {
	t.loop.Resync()
	for _, p := range t.peers {
		p.resync()
	}
}

// Observe takes link, address and neighbour events.
func (t *Tunnels) Observe(e dataplane.Event) bool {
	due := t.loop.Observe(e)
	for name, p := range t.peers {
		ours := e.Kind == dataplane.EventLost || e.Kind == dataplane.EventNeigh && e.Index == t.target.indexes[name]
		if ours && p.observe(e) {
			t.loop.Resync() // the device may be going: the kernel tells of its neighbours first
			due = true
		}
	}
	return due
}

// effect says what a link or address event means to the devices.
func (t *Tunnels) effect(e dataplane.Event) reconcile.Effect {
	if e.Kind == dataplane.EventLink && !e.Deleted && t.target.missing[e.Device] {
		return reconcile.Retry
	}
	for name := range t.target.owned {
		if actual, exists := t.loop.Actual(name); t.target.contradicts(e, name, actual, exists) {
			return reconcile.Contradicts
		}
	}
	return reconcile.None
}

// Apply makes devices and peers match. The peers of a device that could not be made wait for the next Apply.
func (t *Tunnels) Apply(ctx context.Context) error {
	clear(t.target.missing)
	errs := []error{t.loop.Apply(ctx)}
	for _, name := range slices.Sorted(maps.Keys(t.peers)) {
		if !t.loop.InPlace(name) {
			continue
		}
		peers := t.peers[name]
		if peers.index != t.target.indexes[name] || t.target.touched[name] {
			peers.index = t.target.indexes[name]
			peers.resync()
			delete(t.target.touched, name)
		}
		if err := peers.apply(ctx); err != nil {
			errs = append(errs, fmt.Errorf("tunnel %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
