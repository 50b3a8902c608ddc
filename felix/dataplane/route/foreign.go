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
// advertisements. It changes nothing, and reads when it is first asked and after an event that
// may have changed the answer. The agent's goroutine calls it.
type Foreign struct {
	kernel Kernel
	cfg    Config // Protocols are those that are not foreign

	addrs  []netip.Addr // as asked last
	routes []Route      // the answer
	read   bool         // routes is the answer as far as is known
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
		return f.kernel.RouteListFiltered(f.cfg.Family.AF(), &netlink.Route{Table: f.cfg.Table}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return f.routes, fmt.Errorf("list %s routes of table %d: %w", f.cfg.Family, f.cfg.Table, err)
	}
	links, err := retryDump(f.kernel.LinkList) // after the routes: a device that is not in it has gone, and its routes too
	if err != nil {
		return f.routes, fmt.Errorf("list links: %w", err)
	}
	f.take(routes, deviceNames(links))
	f.read = true
	return f.routes, nil
}

func (f *Foreign) take(messages []netlink.Route, names map[int]string) {
	f.routes = nil
	for _, msg := range messages {
		if slices.Contains(f.cfg.Protocols, int(msg.Protocol)) || msg.Tos != 0 {
			continue
		}
		hops := msg.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{{LinkIndex: msg.LinkIndex, Gw: msg.Gw, Flags: msg.Flags, Via: msg.Via, Encap: msg.Encap}}
		}
		msg.MultiPath = slices.DeleteFunc(hops, func(h *netlink.NexthopInfo) bool {
			return names[h.LinkIndex] == "" || h.Flags&unix.RTNH_F_DEAD != 0 || h.Via != nil || h.Encap != nil
		})
		r := decode(f.cfg.Family, msg, names)
		if len(msg.MultiPath) == 0 {
			r.Hops = nil
		}
		if slices.ContainsFunc(f.addrs, r.concerns) {
			f.routes = append(f.routes, r)
		}
	}
	slices.SortStableFunc(f.routes, func(a, b Route) int { // among equals the kernel takes the first
		return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), cmp.Compare(a.Priority, b.Priority))
	})
}

// concerns reports whether a route leads to an address or through it.
func (r Route) concerns(addr netip.Addr) bool {
	return r.Dst.Contains(addr) || slices.ContainsFunc(r.Hops, func(h Hop) bool { return h.Gateway == addr })
}

// Resync makes the next Of read the kernel.
func (f *Foreign) Resync() { f.read = false }

// Observe takes route, link and address events, and reports whether the answer may have changed. With a device that
// goes down, and with an address, routes go of which nothing tells (see Table).
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
		stale = e.Family == f.cfg.Family && e.Table == f.cfg.Table && !slices.Contains(f.cfg.Protocols, e.Protocol) &&
			(slices.ContainsFunc(f.addrs, e.Dst.Contains) || slices.ContainsFunc(f.routes, func(r Route) bool { return r.Dst == e.Dst }))
	}
	if stale {
		f.Resync()
	}
	return stale
}
