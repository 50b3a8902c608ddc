package linux

import (
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
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
}

// FamilyDrivers are those of one IP family.
type FamilyDrivers struct {
	Family dataplane.Family
	// Filter programs rules and sets.
	Filter      filter.Backend
	Routes      Routes
	Connections Connections
}

func (d *Drivers) observers() []dataplane.Observer {
	observers := []dataplane.Observer{d.Tunnels, d.Sysctls}
	for _, f := range d.Families {
		observers = append(observers, f.Filter, f.Routes)
	}
	return observers
}
