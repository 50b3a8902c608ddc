// Package conntrack is the driver that makes the kernel forget connections.
//
// What the connection table knows passes policy as established. An address that passes from one pod to
// another must not bring the connections of the former with it. The driver deletes those
// of the addresses it was told of, and leaves all others alone. The agent's goroutine calls it.
package conntrack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Connections is the driver of one IP family.
type Connections struct {
	// Waited is called with how long it took to delete connections; nil is nobody.
	Waited func(took time.Duration)

	family dataplane.Family
	handle *netlink.Handle
	// pending are the addresses whose connections are still to be deleted.
	pending map[netip.Addr]bool
}

// Open returns a driver for the calling thread's network namespace; call Close after use.
func Open(family dataplane.Family) (*Connections, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netfilter netlink: %w", err)
	}
	return &Connections{family: family, handle: handle, pending: map[netip.Addr]bool{}}, nil
}

// Close frees the socket.
func (c *Connections) Close() { c.handle.Close() }

// Forget makes the next Apply delete the connections from and to an address, as the kernel sees it before or after
// translation. An address of another family is ignored.
func (c *Connections) Forget(addr netip.Addr) {
	if dataplane.FamilyOf(addr) == c.family {
		c.pending[addr] = true
	}
}

// InPlace reports whether the connections of an address that Forget was told of are gone.
func (c *Connections) InPlace(addr netip.Addr) bool { return !c.pending[addr] }

// Name implements dataplane.Driver.
func (c *Connections) Name() string { return "conntrack" }

// Apply implements dataplane.Driver. It reads the table of the family once, and only if there is something to forget.
func (c *Connections) Apply(context.Context) error {
	if len(c.pending) == 0 {
		return nil
	}
	began := time.Now()
	if c.Waited != nil {
		defer func() { c.Waited(time.Since(began)) }()
	}
	if _, err := c.handle.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(c.family.AF()), addresses(c.pending)); err != nil {
		return fmt.Errorf("delete %s connections of %d addresses: %w", c.family, len(c.pending), err)
	}
	clear(c.pending)
	return nil
}

// Resync implements dataplane.Driver. Nothing is remembered of the kernel's state.
func (c *Connections) Resync() {}

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
