// Package conntrack is the driver that makes the kernel forget connections.
//
// Packets of a connection that the kernel knows pass policy as established. When an address goes from one pod to
// another, the connections of the former pod must not come with it. The driver deletes the connections of the
// addresses that Forget names, and leaves all others alone. The agent's goroutine calls it.
package conntrack

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
)

// Kernel is what the driver needs of the netfilter netlink protocol; a *netlink.Handle has it.
type Kernel interface {
	ConntrackDeleteFilters(netlink.ConntrackTableType, netlink.InetFamily,
		...netlink.CustomConntrackFilter) (uint, error)
}

// Connections is the driver of one IP family.
type Connections struct {
	// Waited is called with how long it took to delete connections. It may be nil.
	Waited func(took time.Duration)

	family dataplane.Family
	kernel Kernel
	close  func()
	// loop has the addresses that may have connections. None is desired, so Apply deletes them all.
	loop *reconcile.Loop[netip.Addr, struct{}]
}

// Open returns a driver for the calling thread's network namespace; call Close after use.
func Open(family dataplane.Family) (*Connections, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netfilter netlink: %w", err)
	}
	c := New(family, handle)
	c.close = handle.Close
	return c, nil
}

// New returns a driver with nothing to forget.
func New(family dataplane.Family, kernel Kernel) *Connections {
	c := &Connections{family: family, kernel: kernel, close: func() {}}
	c.loop = reconcile.New(target{c}, reconcile.Config[netip.Addr, struct{}]{
		Equal: func(_, _ struct{}) bool { return true }, Compare: netip.Addr.Compare,
	})
	c.loop.Complete()
	return c
}

// Close frees what Open opened.
func (c *Connections) Close() { c.close() }

// Forget makes the next Apply delete the connections from and to an address, as the kernel sees it before or after
// translation. An address of another family is ignored.
func (c *Connections) Forget(addr netip.Addr) {
	if dataplane.FamilyOf(addr) == c.family {
		c.loop.Found(addr, struct{}{})
	}
}

// InPlace reports whether the connections of an address that Forget named are gone.
func (c *Connections) InPlace(addr netip.Addr) bool {
	_, known := c.loop.Actual(addr)
	return !known
}

// Name is "conntrack".
func (c *Connections) Name() string { return "conntrack" }

// Apply deletes the connections of all addresses that Forget named. It reads the table of the family once, and only if
// there is something to forget.
func (c *Connections) Apply(ctx context.Context) error { return c.loop.Apply(ctx) }

// Resync does nothing: the driver knows nothing of the kernel's state.
func (c *Connections) Resync() {}

// target deletes connections by the address.
type target struct{ *Connections }

// List returns what Forget named: the kernel's table is read only when something is to be deleted.
func (t target) List(context.Context) (map[netip.Addr]struct{}, error) {
	return maps.Clone(t.loop.AllActual()), nil
}

// Update is not called: no connection is desired.
func (target) Update(context.Context, reconcile.Change[netip.Addr, struct{}]) error { return nil }

// Delete deletes the connections of one address.
func (t target) Delete(ctx context.Context, c reconcile.Change[netip.Addr, struct{}]) error {
	return t.DeleteBatch(ctx, []reconcile.Change[netip.Addr, struct{}]{c})
}

// DeleteBatch deletes the connections of several addresses in one walk of the kernel's table.
func (t target) DeleteBatch(_ context.Context, changes []reconcile.Change[netip.Addr, struct{}]) error {
	began := time.Now()
	if t.Waited != nil {
		defer func() { t.Waited(time.Since(began)) }()
	}
	gone := addresses{}
	for _, c := range changes {
		gone[c.Key] = true
	}
	family := netlink.InetFamily(t.family.AF())
	if _, err := t.kernel.ConntrackDeleteFilters(netlink.ConntrackTable, family, gone); err != nil {
		return reconcile.Unchanged(fmt.Errorf("delete %s connections of %d addresses: %w", t.family, len(changes), err))
	}
	return nil
}

// addresses matches the flows that have one of them.
type addresses map[netip.Addr]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (a addresses) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range []net.IP{flow.Forward.SrcIP, flow.Forward.DstIP, flow.Reverse.SrcIP, flow.Reverse.DstIP} {
		if addr, ok := netip.AddrFromSlice(ip); ok && a[addr.Unmap()] {
			return true
		}
	}
	return false
}
