package route

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
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
	// Listed and Read are called with how long it took to list the links, and to read links and routes back. Both may
	// be nil.
	Listed, Read func(took time.Duration)
}

// Counts are a Table's sizes, for metrics, as of the last Apply or event. They may be read from any goroutine.
type Counts struct {
	Routes     atomic.Int64 // desired routes
	Interfaces atomic.Int64 // interfaces that the Table knows
}

// Table is the driver.
type Table struct {
	loop   *reconcile.Loop[Key, Route] // both sides normal
	target *target
	counts Counts
}

// New returns a driver that desires no routes and has not read the kernel yet.
func New(kernel Kernel, cfg Config) *Table {
	if cfg.Table == 0 {
		cfg.Table = MainTable
	}
	t := &Table{target: newTarget(kernel, cfg)}
	t.loop = reconcile.New(t.target, reconcile.Config[Key, Route]{
		Equal: satisfies, Compare: compareKeys, Effect: t.effect,
	})
	return t
}

// compareKeys puts the longest prefix first: a gateway may be reachable by another route of the same Apply.
func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), a.Dst.Addr().Compare(b.Dst.Addr()),
		cmp.Compare(a.Priority, b.Priority))
}

// Counts returns the Table's counts.
func (t *Table) Counts() *Counts { return &t.counts }

// Number returns the number of the routing table.
func (t *Table) Number() int { return t.target.cfg.Table }

// Set makes r desired, in place of what was desired for its key. Apply then costs one route, however many there are.
func (t *Table) Set(r Route) {
	r = r.normal(t.target.cfg.Family)
	t.loop.Set(Key{r.Dst, r.Priority}, r)
}

// Remove makes the route of a key not desired.
func (t *Table) Remove(k Key) { t.loop.Remove(k.normal(t.target.cfg.Family)) }

// Replace makes exactly these routes desired. Of several with the same key the last one wins.
func (t *Table) Replace(routes []Route) {
	desired := make(map[Key]Route, len(routes))
	for _, r := range routes {
		r = r.normal(t.target.cfg.Family)
		desired[Key{r.Dst, r.Priority}] = r
	}
	t.loop.Replace(desired)
}

// Complete says that every desired route has been Set. Until Complete or Replace is called, Apply leaves the routes of
// an earlier process that are not desired where they are.
func (t *Table) Complete() { t.loop.Complete() }

// InPlace reports whether a route is desired for a key and, as far as is known, the kernel has it.
func (t *Table) InPlace(k Key) bool {
	k = k.normal(t.target.cfg.Family)
	_, desired := t.loop.Desired(k)
	return desired && t.loop.InPlace(k)
}

// Name is "route".
func (t *Table) Name() string { return "route" }

// Resync makes the next Apply read the kernel's routes and links back.
func (t *Table) Resync() { t.loop.Resync() }

// Apply makes the kernel's routes match. Errors name the route; what failed is pending for the next Apply.
func (t *Table) Apply(ctx context.Context) error {
	clear(t.target.waiting)
	err := t.loop.Apply(ctx)
	t.counts.Routes.Store(int64(len(t.loop.AllDesired())))
	t.counts.Interfaces.Store(int64(len(t.target.links)))
	return err
}

// Observe takes route, link and address events.
func (t *Table) Observe(e dataplane.Event) bool {
	due := t.loop.Observe(e)
	t.counts.Interfaces.Store(int64(len(t.target.links)))
	return due
}

func (t *Table) effect(e dataplane.Event) reconcile.Effect {
	switch e.Kind {
	case dataplane.EventLink:
		return t.linkEffect(e)
	case dataplane.EventAddr:
		return t.addrEffect(e)
	case dataplane.EventRoute:
		return t.routeEffect(e)
	}
	return reconcile.None
}

func (t *Table) routeEffect(e dataplane.Event) reconcile.Effect {
	cfg := t.target.cfg
	if e.Family != cfg.Family || e.Table != cfg.Table {
		return reconcile.None
	}
	k := Key{e.Dst, e.Priority}
	actual, exists := t.loop.Actual(k)
	_, desired := t.loop.Desired(k)
	switch {
	case e.Deleted && exists && actual.Protocol == e.Protocol:
		return reconcile.Contradicts
	case e.Deleted && desired && !exists:
		return reconcile.Retry // the route that was in the way has gone
	case e.Deleted:
	case exists && actual.Protocol != e.Protocol, !exists && slices.Contains(cfg.Protocols, e.Protocol):
		return reconcile.Contradicts
	}
	return reconcile.None
}

// linkEffect says what a link event means. The kernel sends no event for the IPv4 routes that go with a device (Linux
// 6.18), so after the device each route over it is in doubt.
func (t *Table) linkEffect(e dataplane.Event) reconcile.Effect {
	links := t.target.links
	if e.Deleted || !e.Up {
		if e.Deleted {
			delete(links, e.Device)
		}
		if t.target.over[e.Device] > 0 || t.target.over[""] > 0 {
			return reconcile.Contradicts
		}
		return reconcile.None
	}
	if index, known := links[e.Device]; known && index != e.Index {
		delete(links, e.Device)
	}
	if t.target.waiting[e.Device] {
		return reconcile.Retry
	}
	return reconcile.None
}

// addrEffect says what an address event means. With a device's last IPv4 address its routes go; with any address, IPv4
// routes that prefer it as source go and IPv6 routes lose it. Not all of this has events of its own (Linux 6.18).
func (t *Table) addrEffect(e dataplane.Event) reconcile.Effect {
	if e.Family != t.target.cfg.Family {
		return reconcile.None
	}
	if !e.Deleted {
		if len(t.target.waiting) > 0 {
			return reconcile.Retry
		}
		return reconcile.None
	}
	for _, r := range t.loop.AllActual() {
		for _, h := range r.Hops {
			if h.Device == "" || r.Src == e.Dst.Addr() || t.target.links[h.Device] == e.Index {
				return reconcile.Contradicts
			}
		}
	}
	return reconcile.None
}
