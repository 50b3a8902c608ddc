package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// Apply implements boundary.Dataplane.
func (d *Dataplane) Apply(ctx context.Context, changes boundary.Desired) boundary.Result {
	r := result{boundary.Result{Enforced: map[dataplane.Family]bool{}}}
	if changes.Scope == boundary.GuardUnprogrammed {
		if programmed, err := d.guard.decide(ctx, d.families); err != nil || programmed {
			r.fail(boundary.KindPolicy, 0, err)
			r.Retry = err != nil
			return r.Result
		}
	}
	d.take(changes)
	d.allotRoom()
	d.renderRules()
	if changes.Scope == boundary.Everything {
		d.applyAll(ctx, &r)
	} else {
		grown, rules := d.protect(ctx)
		for i := range d.families {
			r.fail(boundary.KindSet, d.families[i].Family, grown[i])
			r.fail(boundary.KindPolicy, d.families[i].Family, rules[i])
		}
	}
	d.explain(&r)
	r.Retry = len(r.Failures) > 0
	return r.Result
}

// take records changes, and makes desired what does not have to be rendered.
func (d *Dataplane) take(changes boundary.Desired) {
	if s := changes.Settings; s != nil {
		d.settings = *s
		d.stale = true
	}
	if n := changes.Networks; n != nil {
		d.networks = *n
	}
	if changes.Whole || changes.Networks != nil || changes.Settings != nil || !changes.Tunnels.Empty() {
		changes.Tunnels.ApplyTo(d.tunnels, changes.Whole)
		d.setTunnels()
		d.setNetworks()
	}
	if changes.Whole || !changes.Policies.Empty() || !changes.HostEndpoints.Empty() {
		changes.Policies.ApplyTo(d.policies, changes.Whole)
		changes.HostEndpoints.ApplyTo(d.hosts, changes.Whole)
		d.stale, d.room.changed = true, true
	}
	d.takeEndpoints(changes)
	d.takeSets(changes)
	d.takeRoutes(changes)
	for _, f := range d.families {
		for _, addr := range changes.Forget {
			f.Connections.Forget(addr)
		}
	}
}

func (d *Dataplane) takeRoutes(changes boundary.Desired) {
	for _, f := range d.families {
		if changes.Whole {
			var all []route.Route
			for key, r := range changes.Routes.Upserts {
				if dataplane.FamilyOf(key.Dst.Addr()) == f.Family {
					all = append(all, r)
				}
			}
			f.Routes.Replace(all)
			continue
		}
		for key := range changes.Routes.Deletes {
			if dataplane.FamilyOf(key.Dst.Addr()) == f.Family {
				f.Routes.Remove(key)
			}
		}
		for key, r := range changes.Routes.Upserts {
			if dataplane.FamilyOf(key.Dst.Addr()) == f.Family {
				f.Routes.Set(r)
			}
		}
	}
}

// hostRoute is the key of the route to an address of an endpoint.
func hostRoute(addr netip.Addr) route.Key {
	return route.Key{Dst: netip.PrefixFrom(addr, addr.BitLen())}
}

// applyAll makes the kernel match, in the order in which nothing opens that is to be closed: what rules name exists before
// them, a pod's rules before its route, and what rules named goes after them.
func (d *Dataplane) applyAll(ctx context.Context, r *result) {
	r.fail(boundary.KindTunnel, 0, d.apply(ctx, d.drivers.Tunnels))
	r.fail(boundary.KindSettings, 0, d.apply(ctx, d.drivers.Sysctls))
	grown, rules := d.protect(ctx)
	for i, f := range d.families {
		stands := enforces(rules[i])
		whole := grown[i] == nil || f.denies(grown[i])
		f.stood = f.stood || whole && stands
		r.fail(boundary.KindSet, f.Family, grown[i])
		r.fail(boundary.KindPolicy, f.Family, rules[i])
		if f.stood { // pods are not to be reached before their policy is
			r.fail(boundary.KindRoute, f.Family, d.apply(ctx, f.Routes))
		}
		r.fail(boundary.KindConnections, f.Family, d.apply(ctx, f.Connections)) // last: what comes after meets the rules
		f.enforced = whole && stands
		if stands {
			r.fail(boundary.KindSet, f.Family, d.counted(f.Sets.Name(), f.Sets.Shrink(ctx)))
		}
		r.Enforced[f.Family] = f.enforced
	}
}

// protect makes sets and rules as desired, as far as that opens nothing, and returns the errors of each family.
func (d *Dataplane) protect(ctx context.Context) (grown, rules []error) {
	for _, f := range d.families {
		err := d.counted(f.Sets.Name(), f.Sets.Grow(ctx))
		d.stale = f.learnBroken(err, d.room.sizes) || d.stale
		grown = append(grown, err)
	}
	d.renderRules() // again, if that changed what policies can be enforced
	return grown, d.applyRules(ctx)
}

// applyRules applies one table after another, each of all families at a time: what takes time is the commands.
func (d *Dataplane) applyRules(ctx context.Context) []error {
	errs, finish := make([]error, len(d.families)), make([]func() error, len(d.families))
	for table := range tables {
		for i, f := range d.families {
			finish[i] = f.tables()[table].Start(ctx)
		}
		for i, f := range d.families {
			errs[i] = errors.Join(errs[i], d.counted(f.tables()[table].Name(), finish[i]()))
		}
	}
	return errs
}

// apply applies a driver and counts its failure.
func (d *Dataplane) apply(ctx context.Context, driver dataplane.Driver) error {
	return d.counted(driver.Name(), driver.Apply(ctx))
}

// counted counts a driver's failure, and returns it.
func (d *Dataplane) counted(driver string, err error) error {
	if err != nil {
		d.failed(driver)
	}
	return err
}

// explain adds what is as desired and yet worth saying.
func (d *Dataplane) explain(r *result) {
	r.Unusable = d.unusable
	if d.settings.IPVS {
		r.Notices = append(r.Notices, noticeIPVS)
		if d.ipvs.Room() == 0 {
			r.Refused = errNoMarks
		}
	}
}

// guard remembers whether an earlier process left rules.
type guard struct{ decided, programmed bool }

// decide reports whether an earlier process left rules. It looks once: later the rules of this process would look like
// those of an earlier one.
func (g *guard) decide(ctx context.Context, families []*family) (programmed bool, err error) {
	if g.decided {
		return g.programmed, nil
	}
	for _, f := range families {
		has, err := f.Filter.Programmed(ctx)
		if err != nil {
			return false, fmt.Errorf("find the %s rules of an earlier process: %w", f.Family, err)
		}
		g.programmed = g.programmed || has
	}
	g.decided = true
	return g.programmed, nil
}
