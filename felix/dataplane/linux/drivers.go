package linux

import (
	"context"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
)

// What the dataplane needs of each driver. The packages of the drivers implement it.
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
		Set(route.Route)
		Remove(route.Key)
		Replace([]route.Route)
		InPlace(route.Key) bool
	}
	// Connections is a *conntrack.Connections.
	Connections interface {
		dataplane.Driver
		Forget(netip.Addr)
		InPlace(netip.Addr) bool
	}
)

// Drivers are the kernel's state that the dataplane programs.
type Drivers struct {
	Tunnels  Tunnels
	Sysctls  Sysctls
	Families []FamilyDrivers
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
	Connections              Connections
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
