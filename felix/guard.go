package felix

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// guardMode says from what the host endpoints of the journal are closed until the stream is there.
type guardMode int

const (
	guardUndecided guardMode = iota
	// guardAsKnown programs what the journal has.
	guardAsKnown
	// guardClosed programs state.closed: the journal is stale, and the kernel has no rules of ours.
	guardClosed
	// guardNothing leaves the kernel as it is: the journal is stale, and an earlier process left its rules.
	guardNothing
)

// guard closes the host endpoints that the journal has, until the stream delivers something. So a starting node is not
// open while Typha or the node's address is missing. Everything else waits.
func (a *Agent) guard(ctx context.Context) {
	if a.heard || len(a.state.hostEndpoints) == 0 {
		return
	}
	err := a.decideGuard(ctx)
	switch a.guardMode {
	case guardAsKnown:
		if a.guardStands && !a.state.dirty.any() {
			return
		}
		err = a.applyGuard(ctx)
	case guardClosed:
		if a.guardStands {
			return
		}
		known := a.state
		a.state = known.closed()
		err = a.applyGuard(ctx)
		a.state = known // all of it has still to be rendered
	}
	if ctx.Err() != nil {
		return
	}
	if a.guardStands = err == nil; err != nil {
		a.log.Error("host endpoints not closed, will retry", "error", err)
		a.backOff()
	}
}

// decideGuard decides on the mode, once: later the rules of this process would look like those of an earlier one.
func (a *Agent) decideGuard(ctx context.Context) error {
	if a.guardMode != guardUndecided {
		return nil
	}
	if a.opts.Journal.Stale() == nil {
		a.guardMode = guardAsKnown
		return nil
	}
	for _, f := range a.opts.Drivers.Families {
		programmed, err := f.Filter.Programmed(ctx)
		if err != nil {
			return fmt.Errorf("find the %s rules of an earlier process: %w", f.Family, err)
		}
		if programmed {
			a.guardMode = guardNothing
			return nil
		}
	}
	a.guardMode = guardClosed
	a.log.Warn("no stream yet, a stale journal, no rules in the kernel: host endpoints allow the failsafe ports alone")
	return nil
}

func (a *Agent) applyGuard(ctx context.Context) error {
	interfaces := a.readInterfaces(ctx)
	a.renderSets()
	a.renderRoutes() // the rules name sets of it
	a.renderRules()
	grown, rules := a.protect(ctx)
	return errors.Join(append(append(grown, rules...), interfaces)...)
}

// endGuard begins what guard left out: BGP and the pools of tunnels.
func (a *Agent) endGuard() {
	if a.guardMode != guardUndecided {
		a.guardMode, a.state.dirty.routes = guardUndecided, true
	}
}

// loopback names the host endpoint and the profile that leave processes of the node to each other. No resource can have
// that name.
const loopback = "/loopback"

// closed returns the host endpoints and settings of a state that is not known to be current. The policies and profiles
// that they name are missing, and so deny. "*" does not close the loopback interface: probes of the control plane come
// that way, and without them there may be no Typha.
func (s *state) closed() *state {
	c := newState()
	c.configs, c.hostEndpoints = s.configs, maps.Clone(s.hostEndpoints)
	has := func(device string) bool {
		for _, h := range s.hostEndpoints {
			if h.Interface == device {
				return true
			}
		}
		return false
	}
	if has(policy.AnyInterface) && !has("lo") {
		allow := []wire.Rule{{Action: wire.Allow}}
		c.policies[loopback] = &wire.Policy{Name: loopback, Ingress: allow, Egress: allow}
		c.hostEndpoints[loopback] = &wire.HostEndpoint{Name: loopback, Interface: "lo", Profiles: []string{loopback}}
	}
	return c
}
