package felix

import (
	"context"
	"errors"
	"maps"

	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// guard closes the host endpoints that the journal has, until the stream delivers something. So a starting node is not
// open while Typha or the node's address is missing. Everything else waits.
func (a *Agent) guard(ctx context.Context) {
	s := a.start
	if s.heard || len(a.state.hostEndpoints) == 0 {
		return
	}
	if !s.guarding {
		s.guarding, s.scope = true, s.guardScope()
	}
	if s.guardStands && (s.scope == boundary.GuardUnprogrammed || !a.pending()) {
		return
	}
	interfaces := a.readInterfaces(ctx)
	var desired boundary.Desired
	if s.scope == boundary.Guard {
		desired = a.changes()
	} else {
		desired = a.closed()
	}
	desired.Scope = s.scope
	result := a.opts.Dataplane.Apply(ctx, desired)
	if ctx.Err() != nil {
		return
	}
	err := errors.Join(interfaces, errors.Join(result.Failures...))
	s.guardStands = err == nil
	if err != nil {
		a.opts.Log.Error("host endpoints not closed, will retry", "error", err)
		a.retry.later()
	}
}

// endGuard makes the routes dirty, for what guard left out: BGP and the pools of tunnels.
func (a *Agent) endGuard() {
	if a.start.guarding {
		a.start.guarding, a.state.dirty.routes = false, true
	}
}

// loopback names the host endpoint and the profile that leave processes of the node to each other. No resource can have
// that name.
const loopback = "/loopback"

// closed returns the host endpoints of a state that is not known to be current, with the workloads and nothing else.
// The policies and profiles that they name are missing, and so deny. "*" does not close the loopback interface: probes
// of the control plane come that way, and without them there may be no Typha. All of the state has still to be handed
// over.
func (a *Agent) closed() boundary.Desired {
	settings := a.settingsNow()
	d := boundary.Desired{Whole: true, Settings: &settings, Networks: &boundary.Networks{}}
	d.Settings.BGPPort = 0
	all := maps.Clone(a.state.hostEndpoints)
	has := map[string]bool{}
	for _, h := range all {
		has[h.Interface] = true
	}
	if has[policy.AnyInterface] && !has["lo"] {
		allow := []wire.Rule{{Action: wire.Allow}}
		d.Policies.Set(loopback, &wire.Policy{Name: loopback, Ingress: allow, Egress: allow})
		all[loopback] = &wire.HostEndpoint{Name: loopback, Interface: "lo", Profiles: []string{loopback}}
	}
	byDevice, _ := assign(all, a.opts.Interfaces, a.settings.config)
	for device, h := range byDevice {
		d.HostEndpoints.Set(device, h)
	}
	for device, w := range a.endpoints.made {
		d.Endpoints.Set(device, boundary.Endpoint{Addrs: w.Addrs, Present: true})
	}
	return d
}
