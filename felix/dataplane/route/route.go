// Package route is the driver of the routes of one family in one routing table.
//
// It owns the routes whose protocol number is in its set, and touches no other: where a foreign route has
// the same destination and metric, Apply leaves it, and reports the conflict unless the desired route Yields. It makes
// no devices; a route over a device that does not exist is reported and tried again. The agent's goroutine calls it.
//
// Beside it stands Foreign, which reads what the driver does not own: the routes that next hops are resolved by.
package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

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
	// Yields is set if this route is not wanted while a foreign route has the destination and metric.
	Yields bool
}

// Key identifies a route within a Table.
type Key struct {
	Dst      netip.Prefix
	Priority int // 0 as in Route
}

// String returns destination and metric, for messages.
func (k Key) String() string {
	if k.Priority == 0 {
		return k.Dst.String()
	}
	return fmt.Sprintf("%s metric %d", k.Dst, k.Priority)
}

// defaultPriorityV6 is the metric that the kernel gives an IPv6 route without one.
const defaultPriorityV6 = 1024

// normal returns the key as the kernel shows it.
func (k Key) normal(f dataplane.Family) Key {
	k.Dst = k.Dst.Masked()
	if f == dataplane.IPv6 && k.Priority == 0 {
		k.Priority = defaultPriorityV6
	}
	return k
}

// normal returns the route as the kernel shows it, with hops in a fixed order.
func (r Route) normal(f dataplane.Family) Route {
	k := Key{r.Dst, r.Priority}.normal(f)
	r.Dst, r.Priority = k.Dst, k.Priority
	if r.Type == 0 {
		r.Type = Unicast
	}
	if r.Type != Unicast && r.Type != Local {
		r.Hops = nil // IPv6 shows the loopback device there
	}
	if len(r.Hops) > 1 {
		r.Hops = slices.Clone(r.Hops)
		slices.SortFunc(r.Hops, func(a, b Hop) int {
			if c := a.Gateway.Compare(b.Gateway); c != 0 {
				return c
			}
			return strings.Compare(a.Device, b.Device)
		})
	}
	return r
}

// satisfies reports whether the actual route is as good as the desired one. Both are normal.
func satisfies(desired, actual Route) bool {
	return desired.Type == actual.Type && desired.Src == actual.Src && desired.Protocol == actual.Protocol &&
		desired.MTU == actual.MTU && slices.EqualFunc(desired.Hops, actual.Hops, func(d, a Hop) bool {
		return (d.Device == a.Device || d.Device == "") && d.Gateway == a.Gateway && d.OnLink == a.OnLink
	})
}
