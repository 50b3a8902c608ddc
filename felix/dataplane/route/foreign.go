package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Foreign reads the routes that others made in the table of a Config: the kernel, an administrator, a router's
// advertisements. It changes nothing. It reads the kernel at the first call of Of, and again after an event that may
// have changed the result. The agent's goroutine calls it.
type Foreign struct {
	kernel Kernel
	cfg    Config // Protocols are those that are not foreign

	addrs  []netip.Addr // of the last call of Of
	routes []Route      // its result
	read   bool         // routes is up to date, as far as is known
}

// NewForeign returns a reader of what New's Table with the same Config leaves alone.
func NewForeign(kernel Kernel, cfg Config) *Foreign {
	if cfg.Table == 0 {
		cfg.Table = MainTable
	}
	return &Foreign{kernel: kernel, cfg: cfg}
}

// Of returns the foreign routes that concern one of the addresses: those to it, the longest prefix first and the
// least metric first among equals, and those through it as a gateway. A route whose hops are down, or which
// go on in another way than by a device and a gateway of the family, is in it without them.
func (f *Foreign) Of(addrs []netip.Addr) ([]Route, error) {
	if f.read && slices.Equal(addrs, f.addrs) {
		return f.routes, nil
	}
	f.addrs, f.read = slices.Clone(addrs), len(addrs) == 0
	if f.read {
		f.routes = nil
		return nil, nil
	}
	routes, err := retryDump(func() ([]netlink.Route, error) {
		filter := &netlink.Route{Table: f.cfg.Table}
		return f.kernel.RouteListFiltered(f.cfg.Family.AF(), filter, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return f.routes, fmt.Errorf("list %s routes of table %d: %w", f.cfg.Family, f.cfg.Table, err)
	}
	// After the routes: a device that is not in the list has gone, and its routes too.
	links, err := retryDump(f.kernel.LinkList)
	if err != nil {
		return f.routes, fmt.Errorf("list links: %w", err)
	}
	f.routes = f.concerned(routes, deviceNames(links))
	f.read = true
	return f.routes, nil
}

// concerned returns the foreign routes that concern one of the addresses, best first.
func (f *Foreign) concerned(messages []netlink.Route, names map[int]string) []Route {
	var routes []Route
	for _, msg := range messages {
		if slices.Contains(f.cfg.Protocols, int(msg.Protocol)) || msg.Tos != 0 {
			continue
		}
		hops := msg.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{
				{LinkIndex: msg.LinkIndex, Gw: msg.Gw, Flags: msg.Flags, Via: msg.Via, Encap: msg.Encap},
			}
		}
		msg.MultiPath = slices.DeleteFunc(hops, func(h *netlink.NexthopInfo) bool {
			return names[h.LinkIndex] == "" || h.Flags&unix.RTNH_F_DEAD != 0 || h.Via != nil || h.Encap != nil
		})
		r := decode(f.cfg.Family, msg, names)
		if len(msg.MultiPath) == 0 {
			r.Hops = nil
		}
		if slices.ContainsFunc(f.addrs, r.concerns) {
			routes = append(routes, r)
		}
	}
	slices.SortStableFunc(routes, func(a, b Route) int { // among equals the kernel uses the first
		return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), cmp.Compare(a.Priority, b.Priority))
	})
	return routes
}

// concerns reports whether a route leads to an address or through it.
func (r Route) concerns(addr netip.Addr) bool {
	return r.Dst.Contains(addr) || slices.ContainsFunc(r.Hops, func(h Hop) bool { return h.Gateway == addr })
}

// Resync makes the next call of Of read the kernel.
func (f *Foreign) Resync() { f.read = false }

// Observe takes route, link and address events, and reports whether the result of Of may have changed. With a device
// that goes down, and with an address, routes go for which the kernel sends no event (see Table).
func (f *Foreign) Observe(e dataplane.Event) bool {
	if len(f.addrs) == 0 {
		return false // nobody depends on a route
	}
	stale := false
	switch e.Kind {
	case dataplane.EventLost:
		stale = true
	case dataplane.EventLink:
		stale = (e.Deleted || !e.Up) && slices.ContainsFunc(f.routes, func(r Route) bool {
			return slices.ContainsFunc(r.Hops, func(h Hop) bool { return h.Device == e.Device })
		})
	case dataplane.EventAddr:
		stale = e.Deleted && e.Family == f.cfg.Family && !e.Dst.Addr().IsLinkLocalUnicast()
	case dataplane.EventRoute:
		foreign := e.Table == f.cfg.Table && !slices.Contains(f.cfg.Protocols, e.Protocol)
		known := slices.ContainsFunc(f.routes, func(r Route) bool { return r.Dst == e.Dst })
		stale = e.Family == f.cfg.Family && foreign && (known || slices.ContainsFunc(f.addrs, e.Dst.Contains))
	}
	if stale {
		f.Resync()
	}
	return stale
}
