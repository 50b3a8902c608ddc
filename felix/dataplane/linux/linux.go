// Package linux is the dataplane of the Linux kernel: it programs what the agent desires with the drivers of links,
// settings of interfaces, IP sets, rules, routes and connections.
//
// It owns the order in which the drivers are applied, what a failure of one holds up, and what is remembered of the
// desired state between two calls. It renders rules by package policy. It decides nothing about the network: what is
// desired comes from the agent, in the terms of package boundary. It does not log and has no goroutine; the agent's
// calls it. Open makes the drivers, and Clean removes what they made.
package linux

import (
	"context"
	"errors"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// Dataplane implements boundary.Dataplane.
type Dataplane struct {
	drivers Drivers
	marks   policy.Marks
	failed  func(driver string)

	settings  boundary.Settings
	endpoints map[string]boundary.Endpoint
	hosts     map[string]*wire.HostEndpoint
	policies  map[string]*wire.Policy
	networks  boundary.Networks
	tunnels   map[string]tunnel.Device
	guarded   []tunnel.Device // tunnels without their peers, which the rules depend on
	room      room
	ipvs      *policy.EndpointMarks
	families  []*family
	guard     guard
	unusable  []string
	marked    bool // endpoints have marks for IPVS
	// stale is set if what all rules depend on may have changed.
	stale bool
}

var _ boundary.Dataplane = (*Dataplane)(nil)

// New returns the Dataplane of drivers. marks are the bits of packet marks that rules may use. failed is called with
// the name of each driver that could not do what it was to; nil is nobody.
func New(drivers Drivers, marks policy.Marks, failed func(driver string)) *Dataplane {
	if failed == nil {
		failed = func(string) {}
	}
	d := &Dataplane{drivers: drivers, marks: marks, failed: failed, endpoints: map[string]boundary.Endpoint{},
		hosts: map[string]*wire.HostEndpoint{}, policies: map[string]*wire.Policy{},
		tunnels: map[string]tunnel.Device{},
		room:    newRoom(), ipvs: policy.NewEndpointMarks(marks)}
	for _, f := range drivers.Families {
		d.families = append(d.families, newFamily(f))
	}
	return d
}

// Families implements boundary.Dataplane.
func (d *Dataplane) Families() []dataplane.Family {
	var families []dataplane.Family
	for _, f := range d.families {
		families = append(families, f.Family)
	}
	return families
}

// Observe implements boundary.Dataplane.
func (d *Dataplane) Observe(e dataplane.Event) bool {
	act := false
	for _, o := range d.drivers.observers() {
		if o.Observe(e) {
			act = true
		}
	}
	return act
}

// Check implements boundary.Dataplane.
func (d *Dataplane) Check(ctx context.Context) (bool, error) {
	any := false
	var errs []error
	ask := func(driver interface {
		Changed(context.Context) (bool, error)
	}) {
		changed, err := driver.Changed(ctx)
		any = any || changed
		errs = append(errs, err)
	}
	for _, f := range d.families {
		ask(f.Filter)
	}
	return any, errors.Join(errs...)
}

// Resync implements boundary.Dataplane.
func (d *Dataplane) Resync(part boundary.Part) {
	switch part {
	case boundary.Rules:
		for _, f := range d.families {
			f.Filter.ResyncChains()
		}
	case boundary.Sets:
		for _, f := range d.families {
			f.Filter.ResyncSets()
		}
	case boundary.Routes:
		for _, f := range d.families {
			f.Routes.Resync()
		}
	case boundary.Links:
		d.drivers.Tunnels.Resync()
		d.drivers.Sysctls.Resync()
	}
}

// InPlace implements boundary.Dataplane.
func (d *Dataplane) InPlace(endpoint string) bool {
	e, known := d.endpoints[endpoint]
	if !known || e.Policy == nil || !d.drivers.Sysctls.InPlace(endpoint) {
		return false
	}
	for _, addr := range e.Addrs {
		for _, f := range d.families {
			if f.Family == dataplane.FamilyOf(addr) &&
				(!f.enforced || !f.Connections.InPlace(addr) || !f.Routes.InPlace(hostRoute(addr))) {
				return false
			}
		}
	}
	return true
}

// RouteInPlace implements boundary.Dataplane.
func (d *Dataplane) RouteInPlace(key route.Key) bool {
	for _, f := range d.families {
		if f.Family == dataplane.FamilyOf(key.Dst.Addr()) {
			return f.Routes.InPlace(key)
		}
	}
	return false
}

// programs reports whether the dataplane programs a family.
func (d *Dataplane) programs(wanted dataplane.Family) bool {
	return slices.ContainsFunc(d.families, func(f *family) bool { return f.Family == wanted })
}
