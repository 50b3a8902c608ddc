// Package route is the driver of the routes of one family in one routing table.
//
// It owns the routes whose protocol number is in its set, and touches no other: where a foreign route has
// the same destination and metric, Apply reports the conflict and leaves it. It makes no devices; a
// route over a device that does not exist is reported and tried again. The agent's
// goroutine calls it.
package route

import (
	"context"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// The routing protocol numbers that Felix uses.
const (
	ProtocolFelix = 80 // Felix's own; Calico's default deviceRouteProtocol
	ProtocolBGP   = 12 // learned by BGP: bird's number in iproute2's rt_protos
)

// MainTable is the number of the table that is looked up without any rule.
const MainTable = 254

// Type is what the kernel does with a packet that a route matches. The numbers are those of rtnetlink(7).
type Type uint8

// The types of routes.
const (
	Unicast     Type = 1
	Local       Type = 2
	Blackhole   Type = 6 // dropped
	Unreachable Type = 7 // dropped, with an ICMP error
	Prohibit    Type = 8
	Throw       Type = 9 // the lookup goes on with the next rule
)

// Hop is one way to go on.
type Hop struct {
	// Device is the interface's name; with a Gateway it may be empty: then the kernel looks for the way to the gateway.
	Device string
	// Gateway is invalid for a destination on the link itself.
	Gateway netip.Addr
	// OnLink: the gateway is reachable though no route says so.
	OnLink bool
}

// Route is one desired route. Destination and metric identify it within a Table.
type Route struct {
	Dst  netip.Prefix
	Type Type  // 0 is Unicast
	Hops []Hop // one, or several for multipath; none for types other than Unicast and Local
	// Src is the preferred source address; invalid for the kernel's choice.
	Src      netip.Addr
	Protocol int // one of the Table's
	Priority int // metric; 0 is the kernel's default (0 for IPv4, 1024 for IPv6)
	MTU      int // bytes; 0 for the device's
}

// Key identifies a route within a Table.
type Key struct {
	Dst      netip.Prefix
	Priority int // 0 as in Route
}

// Kernel is what the driver needs of rtnetlink; a *netlink.Handle has it.
type Kernel interface {
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	RouteAdd(*netlink.Route) error
	RouteReplace(*netlink.Route) error
	RouteDel(*netlink.Route) error
	LinkList() ([]netlink.Link, error)
	LinkByName(name string) (netlink.Link, error)
}

// Config says which routes a Table owns.
type Config struct {
	Family    dataplane.Family
	Table     int   // 0 is MainTable
	Protocols []int // the routes with one of these protocol numbers are ours
}

// Table is the driver.
type Table struct{}

// Open returns a connection to the kernel in the calling thread's network namespace that
// makes it filter dumps itself (strict checking, Linux 4.20). The caller closes it.
func Open() (*netlink.Handle, error) { panic("not built yet") }

// New returns a driver that wants no routes and has not read the kernel yet.
func New(kernel Kernel, cfg Config) *Table { return &Table{} }

// Set makes r desired, in place of what was desired for its key.
func (t *Table) Set(r Route) {}

// Remove makes the route of a key not desired.
func (t *Table) Remove(k Key) {}

// Replace makes exactly these routes desired. Of several with the same key the last one wins.
func (t *Table) Replace(routes []Route) {}

// Name is "route".
func (t *Table) Name() string { return "route" }

// Resync makes the next Apply read the kernel's routes and links back.
func (t *Table) Resync() {}

// Observe takes route and link events.
func (t *Table) Observe(e dataplane.Event) bool { return false }

// Apply makes the kernel's routes match. Errors name the route; what failed is pending for the next Apply.
func (t *Table) Apply(ctx context.Context) error { panic("not built yet") }
