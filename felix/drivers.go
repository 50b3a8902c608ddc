package felix

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
)

// What the agent needs of each driver; the packages below dataplane have it.
type (
	// Tunnels is a *tunnel.Tunnels.
	Tunnels interface {
		dataplane.Driver
		dataplane.Observer
		Replace([]tunnel.Device)
	}
	// Sysctls is a *sysctl.Settings.
	Sysctls interface {
		dataplane.Driver
		dataplane.Observer
		Set(key, value string)
		RemoveDevice(device string)
		InPlace(device string) bool
		Read(key string) (string, error)
	}
	// Sets is a *ipset.Sets.
	Sets interface {
		dataplane.Driver
		Set(ipset.Set)
		AddMembers(name string, members ...ipset.Member)
		RemoveMembers(name string, members ...ipset.Member)
		Remove(name string)
		Withhold(reasons map[string]error)
		Changed(context.Context) (bool, error)
		Grow(context.Context) error
		Shrink(context.Context) error
	}
	// Rules is a *iptables.Table.
	Rules interface {
		dataplane.Driver
		dataplane.Observer
		Start(context.Context) (finish func() error)
		Set(filter.Chain)
		Remove(name string)
		Dispatch(filter.Dispatch)
		RemoveDispatch(name string)
		Hook(map[filter.Hook]filter.HookRules)
		Programmed(context.Context) (bool, error)
		Changed(context.Context) (bool, error)
	}
	// Routes is a *route.Table.
	Routes interface {
		dataplane.Driver
		dataplane.Observer
		Replace([]route.Route)
		InPlace(route.Key) bool
	}
	// Underlay is a *route.Foreign.
	Underlay interface {
		dataplane.Observer
		Of([]netip.Addr) ([]route.Route, error)
		Resync()
	}
	// Interfaces is a *iface.Interfaces.
	Interfaces interface {
		dataplane.Observer
		Apply(context.Context) error
		Resync()
		Exists(name string) bool
		WithAddr(netip.Addr) string
		AddrsBut(name string) []netip.Addr
	}
	// Connections is a *conntrack.Connections.
	Connections interface {
		dataplane.Driver
		Forget(netip.Addr)
		InPlace(netip.Addr) bool
	}
)

// Drivers are the kernel's state that the agent programs, and that it follows.
type Drivers struct {
	// Interfaces knows the node's interfaces and changes nothing.
	Interfaces Interfaces
	Tunnels    Tunnels
	Sysctls    Sysctls
	Families   []FamilyDrivers
	// HasIPv6 is set if the kernel has IPv6, whether Families has it or not.
	HasIPv6 bool
	// Polls says that changes of the rules by others make no events, as with iptables-legacy.
	Polls bool
}

// FamilyDrivers are those of one IP family.
type FamilyDrivers struct {
	Family                   dataplane.Family
	Sets                     Sets
	Raw, Mangle, Filter, NAT Rules
	Routes                   Routes
	// Underlay is the routes that the node has from others; nothing programs it.
	Underlay    Underlay
	Connections Connections
}

// tables is how many tables of rules a family has.
const tables = 4

// tables are in the order to apply them: a mark of an earlier one counts in the next.
func (f FamilyDrivers) tables() [tables]Rules { return [tables]Rules{f.Raw, f.Mangle, f.Filter, f.NAT} }

func (d *Drivers) observers() []dataplane.Observer {
	observers := []dataplane.Observer{d.Tunnels, d.Sysctls}
	for _, f := range d.Families {
		for _, rules := range f.tables() {
			observers = append(observers, rules)
		}
		observers = append(observers, f.Routes)
	}
	return observers
}

// changed asks those drivers that learn nothing from events whether somebody else changed their state.
func (d *Drivers) changed(ctx context.Context) (bool, error) {
	any := false
	var errs []error
	ask := func(driver interface {
		Changed(context.Context) (bool, error)
	}) {
		changed, err := driver.Changed(ctx)
		any = any || changed
		errs = append(errs, err)
	}
	for _, f := range d.Families {
		ask(f.Sets)
		if d.Polls {
			for _, rules := range f.tables() {
				ask(rules)
			}
		}
	}
	return any, errors.Join(errs...)
}

func (d *Drivers) resyncRules() {
	for _, f := range d.Families {
		for _, rules := range f.tables() {
			rules.Resync()
		}
	}
}

func (d *Drivers) resyncSets() {
	for _, f := range d.Families {
		f.Sets.Resync()
	}
}

func (d *Drivers) resyncRoutes() {
	for _, f := range d.Families {
		f.Routes.Resync()
		f.Underlay.Resync()
	}
}

func (d *Drivers) resyncLinks() {
	d.Interfaces.Resync()
	d.Tunnels.Resync()
	d.Sysctls.Resync()
}

// refresher holds the timers of the slow, full comparisons with the kernel.
type refresher struct {
	rules, sets, routes, links, check *time.Ticker
	config                            *config.Config
}

func newRefresher(c *config.Config) *refresher {
	r := &refresher{check: time.NewTicker(checkInterval)}
	for _, t := range []**time.Ticker{&r.rules, &r.sets, &r.routes, &r.links} {
		*t = time.NewTicker(time.Hour)
	}
	r.adjust(c)
	return r
}

// adjust sets the timers to the configuration; an interval of 0 turns one off.
func (r *refresher) adjust(c *config.Config) {
	if r.config == c {
		return
	}
	r.config = c
	set := func(t *time.Ticker, interval time.Duration) {
		if t.Stop(); interval > 0 {
			t.Reset(interval)
		}
	}
	set(r.rules, c.IptablesRefreshInterval)
	set(r.sets, c.IpsetsRefreshInterval)
	set(r.routes, c.RouteRefreshInterval)
	set(r.links, c.InterfaceRefreshInterval)
}

func (r *refresher) stop() {
	for _, t := range []*time.Ticker{r.rules, r.sets, r.routes, r.links, r.check} {
		t.Stop()
	}
}
