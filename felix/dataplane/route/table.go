package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
)

// Errors that Apply wraps.
var (
	// ErrNoDevice: a hop's device does not exist.
	ErrNoDevice = errors.New("device does not exist")
	// ErrConflict: a route that is not ours has the destination and metric.
	ErrConflict = errors.New("a foreign route has this destination and metric")
)

// Config says which routes a Table owns.
type Config struct {
	Family    dataplane.Family
	Table     int   // 0 is MainTable
	Protocols []int // the routes with one of these protocol numbers are ours
	// Listed and Read are called with how long it took to list the links, and to read links and routes back; nil is
	// nobody.
	Listed, Read func(took time.Duration)
}

// Counts say what a Table has, for metrics, as of the last Apply or event. They may be read from any goroutine.
type Counts struct {
	Routes     atomic.Int64 // desired
	Interfaces atomic.Int64 // that the Table knows
}

// Table is the driver.
type Table struct {
	kernel Kernel
	cfg    Config

	routes *delta.Map[Key, Route] // both sides normal
	loaded bool                   // routes has been read since the last Resync
	links  map[string]int         // device name to index; may be out of date, the kernel's errors tell
	// waiting holds the devices that a pending route needs.
	waiting map[string]bool
	counts  Counts
}

// New returns a driver that wants no routes and has not read the kernel yet.
func New(kernel Kernel, cfg Config) *Table {
	if cfg.Table == 0 {
		cfg.Table = MainTable
	}
	return &Table{
		kernel:  kernel,
		cfg:     cfg,
		routes:  delta.New[Key](satisfies),
		links:   map[string]int{},
		waiting: map[string]bool{},
	}
}

// Counts returns the Table's counts.
func (t *Table) Counts() *Counts { return &t.counts }

// Number is the number of the routing table.
func (t *Table) Number() int { return t.cfg.Table }

// Set makes r desired, in place of what was desired for its key.
func (t *Table) Set(r Route) {
	r = r.normal(t.cfg.Family)
	t.routes.Set(Key{r.Dst, r.Priority}, r)
}

// Remove makes the route of a key not desired.
func (t *Table) Remove(k Key) { t.routes.Unset(k.normal(t.cfg.Family)) }

// Replace makes exactly these routes desired. Of several with the same key the last one wins.
func (t *Table) Replace(routes []Route) {
	desired := make(map[Key]Route, len(routes))
	for _, r := range routes {
		r = r.normal(t.cfg.Family)
		desired[Key{r.Dst, r.Priority}] = r
	}
	t.routes.Replace(desired)
}

// InPlace reports whether, as far as is known, the kernel has the desired route of a key.
func (t *Table) InPlace(k Key) bool {
	k = k.normal(t.cfg.Family)
	desired, wanted := t.routes.Desired(k)
	actual, there := t.routes.Actual(k)
	return wanted && there && satisfies(desired, actual)
}

// Name is "route".
func (t *Table) Name() string { return "route" }

// Resync makes the next Apply read the kernel's routes and links back.
func (t *Table) Resync() { t.loaded = false }

// Observe takes route, link and address events.
func (t *Table) Observe(e dataplane.Event) bool {
	contradicts, retry := false, false
	switch e.Kind {
	case dataplane.EventLost:
		contradicts = true
	case dataplane.EventLink:
		contradicts, retry = t.observeLink(e)
		t.counts.Interfaces.Store(int64(len(t.links)))
	case dataplane.EventAddr:
		contradicts, retry = t.observeAddr(e)
	case dataplane.EventRoute:
		if e.Family != t.cfg.Family || e.Table != t.cfg.Table {
			return false
		}
		k := Key{e.Dst, e.Priority}
		actual, there := t.routes.Actual(k)
		_, wanted := t.routes.Desired(k)
		ours := slices.Contains(t.cfg.Protocols, e.Protocol)
		switch {
		case e.Deleted:
			contradicts = there && actual.Protocol == e.Protocol
			retry = wanted && !there // what was in the way went
		case there:
			contradicts = actual.Protocol != e.Protocol
		default:
			contradicts = ours
		}
	}
	if contradicts {
		t.Resync()
	}
	return contradicts || retry
}

// observeLink judges a link event. IPv4 tells nothing of the routes that went with a device (Linux
// 6.18), so each route over it is in doubt.
func (t *Table) observeLink(e dataplane.Event) (contradicts, retry bool) {
	if !e.Deleted && e.Up {
		if index, known := t.links[e.Device]; known && index != e.Index {
			delete(t.links, e.Device)
		}
		return false, t.waiting[e.Device]
	}
	if e.Deleted {
		delete(t.links, e.Device)
	}
	return t.uses(func(_ Route, h Hop) bool { return h.Device == e.Device }), false
}

// observeAddr judges an address event. With a device's last IPv4 address its routes go, with any address those
// that prefer it as source, and nothing tells (Linux 6.18).
func (t *Table) observeAddr(e dataplane.Event) (contradicts, retry bool) {
	if e.Family != t.cfg.Family {
		return false, false
	}
	if !e.Deleted {
		return false, len(t.waiting) > 0
	}
	return t.uses(func(r Route, h Hop) bool { return r.Src == e.Dst.Addr() || t.links[h.Device] == e.Index }), false
}

// uses reports whether match accepts a hop of an actual route. A device that the kernel chose might be any.
func (t *Table) uses(match func(Route, Hop) bool) bool {
	for _, r := range t.routes.AllActual() {
		for _, h := range r.Hops {
			if h.Device == "" || match(r, h) {
				return true
			}
		}
	}
	return false
}

// Apply makes the kernel's routes match. Errors name the route; what failed is pending for the next Apply.
func (t *Table) Apply(ctx context.Context) error {
	defer func() {
		t.counts.Routes.Store(int64(len(t.routes.AllDesired())))
		t.counts.Interfaces.Store(int64(len(t.links)))
	}()
	fresh := !t.loaded
	if fresh {
		if err := t.load(); err != nil {
			return fmt.Errorf("read %s routes of table %d: %w", t.cfg.Family, t.cfg.Table, err)
		}
	}
	if t.routes.Settled() {
		return nil
	}
	clear(t.waiting)
	wanted, unwanted := t.routes.Pending()
	// The longest prefix first: a gateway may be reachable by another route of the batch.
	slices.SortFunc(wanted, func(a, b Key) int {
		return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Priority, b.Priority))
	})
	var errs []error
	for _, k := range wanted {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := t.write(k); err != nil {
			errs = append(errs, err)
			if !fresh && !errors.Is(err, ErrNoDevice) {
				t.Resync() // what we believe may be wrong
			}
		}
	}
	for _, k := range unwanted {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := t.delete(k); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// write adds or replaces one desired route.
func (t *Table) write(k Key) error {
	desired, _ := t.routes.Desired(k)
	_, there := t.routes.Actual(k)
	msg, err := t.encode(desired)
	if err != nil {
		return fmt.Errorf("add route %s: %w", k, err)
	}
	if there {
		err = t.replace(k, msg)
	} else {
		err = t.kernel.RouteAdd(msg)
	}
	if desired.Yields && errors.Is(err, unix.EEXIST) {
		return nil // it stays pending until the other one is gone
	}
	if err != nil {
		t.doubt(desired)
		if errors.Is(err, unix.EEXIST) {
			err = ErrConflict
		}
		return fmt.Errorf("add route %s: %w", k, err)
	}
	t.routes.Observe(k, desired)
	return nil
}

// doubt looks the devices of a route that failed up again next time, and waits for them.
func (t *Table) doubt(r Route) {
	for _, h := range r.Hops {
		delete(t.links, h.Device)
		t.waiting[h.Device] = true
	}
}

// replace writes a route over the one of its key. IPv6 refuses an on-link gateway that its own
// lookup finds over another device (ip6_route_check_nh_onlink; seen on Linux 6.18): that is so where a
// block's first address is the gateway and the route to be replaced covers it. Then the old route goes first.
func (t *Table) replace(k Key, msg *netlink.Route) error {
	err := t.kernel.RouteReplace(msg)
	if !errors.Is(err, unix.EINVAL) || t.cfg.Family != dataplane.IPv6 {
		return err
	}
	if err := t.delete(k); err != nil {
		return err
	}
	return t.kernel.RouteAdd(msg)
}

func (t *Table) delete(k Key) error {
	actual, _ := t.routes.Actual(k)
	msg := &netlink.Route{
		Table:    t.cfg.Table,
		Dst:      ipNet(k.Dst),
		Priority: k.Priority,
		Protocol: netlink.RouteProtocol(actual.Protocol),
		Type:     int(actual.Type),
		Scope:    netlink.Scope(unix.RT_SCOPE_NOWHERE), // any
	}
	if err := t.kernel.RouteDel(msg); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete route %s: %w", k, err)
	}
	t.routes.Forget(k)
	return nil
}
