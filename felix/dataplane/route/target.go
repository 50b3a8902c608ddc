package route

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
)

// target lists and changes the kernel's routes. It is what reconcile.Loop calls.
type target struct {
	kernel Kernel
	cfg    Config
	// links has the index of each device by name. The devices in doubted are looked up before the next use.
	links   map[string]int
	doubted map[string]bool
	// over counts the hops of the kernel's routes by device; "" are those for which the kernel chooses the device.
	over map[string]int
	// waiting holds the devices without which a route failed.
	waiting map[string]bool
}

func newTarget(kernel Kernel, cfg Config) *target {
	return &target{kernel: kernel, cfg: cfg, links: map[string]int{}, doubted: map[string]bool{},
		over: map[string]int{}, waiting: map[string]bool{}}
}

// List reads links and our routes back.
func (t *target) List(context.Context) (map[Key]Route, error) {
	routes, err := t.list()
	if err != nil {
		return nil, fmt.Errorf("read %s routes of table %d: %w", t.cfg.Family, t.cfg.Table, err)
	}
	clear(t.over)
	for _, r := range routes {
		t.count(r, 1)
	}
	return routes, nil
}

func (t *target) list() (map[Key]Route, error) {
	began := time.Now()
	links, err := retryDump(t.kernel.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	if t.cfg.Listed != nil {
		t.cfg.Listed(time.Since(began))
	}
	clear(t.links)
	clear(t.doubted)
	for _, l := range links {
		t.links[l.Attrs().Name] = l.Attrs().Index
	}
	names := deviceNames(links)
	actual := map[Key]Route{}
	for _, p := range t.cfg.Protocols {
		filter := &netlink.Route{Table: t.cfg.Table, Protocol: netlink.RouteProtocol(p)}
		routes, err := retryDump(func() ([]netlink.Route, error) {
			const mask = netlink.RT_FILTER_TABLE | netlink.RT_FILTER_PROTOCOL
			return t.kernel.RouteListFiltered(t.cfg.Family.AF(), filter, mask)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // ENOENT: nobody has used the table yet
			return nil, fmt.Errorf("list routes of protocol %d: %w", p, err)
		}
		for _, msg := range routes {
			if msg.Table != t.cfg.Table || int(msg.Protocol) != p { // the library's filters are alternatives
				continue
			}
			r := decode(t.cfg.Family, msg, names)
			actual[Key{r.Dst, r.Priority}] = r
		}
	}
	if t.cfg.Read != nil {
		t.cfg.Read(time.Since(began))
	}
	return actual, nil
}

func (t *target) count(r Route, n int) {
	for _, h := range r.Hops {
		t.over[h.Device] += n
		if t.over[h.Device] == 0 {
			delete(t.over, h.Device)
		}
	}
}

// Update adds or replaces one route.
func (t *target) Update(_ context.Context, c reconcile.Change[Key, Route]) error {
	err := t.write(c)
	switch {
	case err == nil:
		if c.Exists {
			t.count(c.Actual, -1)
		}
		t.count(c.Desired, 1)
		return nil
	case c.Desired.Yields && errors.Is(err, unix.EEXIST):
		return reconcile.ErrYields
	case errors.Is(err, unix.EEXIST):
		err = ErrConflict
	}
	t.doubt(c.Desired)
	err = fmt.Errorf("add route %s: %w", c.Key, err)
	if errors.Is(err, ErrNoDevice) {
		return reconcile.Unchanged(err)
	}
	return err
}

func (t *target) write(c reconcile.Change[Key, Route]) error {
	msg, err := t.encode(c.Desired)
	if err != nil {
		return err
	}
	if c.Exists {
		return t.replace(c, msg)
	}
	return t.kernel.RouteAdd(msg)
}

// doubt makes the next Update look up the devices of a route that failed, and linkEffect wait for them.
func (t *target) doubt(r Route) {
	for _, h := range r.Hops {
		t.doubted[h.Device] = true
		t.waiting[h.Device] = true
	}
}

// replace writes a route over the one of its key. IPv6 refuses an on-link gateway that its own lookup finds over
// another device (ip6_route_check_nh_onlink, seen on Linux 6.18). That happens if a block's first address is the
// gateway and the route to be replaced covers it. Then the old route goes first. Other refused routes leave the old
// one where it is.
func (t *target) replace(c reconcile.Change[Key, Route], msg *netlink.Route) error {
	err := t.kernel.RouteReplace(msg)
	onLink := slices.ContainsFunc(c.Desired.Hops, func(h Hop) bool { return h.OnLink })
	if !errors.Is(err, unix.EINVAL) || t.cfg.Family != dataplane.IPv6 || !onLink {
		return err
	}
	if err := t.remove(c); err != nil {
		return err
	}
	return t.kernel.RouteAdd(msg)
}

// Delete removes one route.
func (t *target) Delete(_ context.Context, c reconcile.Change[Key, Route]) error {
	if err := t.remove(c); err != nil {
		return err
	}
	t.count(c.Actual, -1)
	return nil
}

func (t *target) remove(c reconcile.Change[Key, Route]) error {
	msg := &netlink.Route{
		Table:    t.cfg.Table,
		Dst:      ipNet(c.Key.Dst),
		Priority: c.Key.Priority,
		Protocol: netlink.RouteProtocol(c.Actual.Protocol),
		Type:     int(c.Actual.Type),
		Scope:    netlink.Scope(unix.RT_SCOPE_NOWHERE), // any
	}
	if err := t.kernel.RouteDel(msg); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete route %s: %w", c.Key, err)
	}
	return nil
}
