package linux

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// Apply implements boundary.Dataplane.
func (d *Dataplane) Apply(ctx context.Context, changes boundary.Desired) boundary.Result {
	r := result{boundary.Result{Enforced: map[dataplane.Family]bool{}}}
	if changes.Scope == boundary.GuardUnprogrammed {
		if programmed, err := d.guard.decide(ctx, d.families); err != nil || programmed {
			r.fail(err)
			return r.Result
		}
	}
	d.take(changes)
	d.allotRoom()
	if changes.Scope == boundary.Everything {
		d.applyAll(ctx, &r)
	} else {
		for _, err := range d.protect(ctx, true) {
			r.failFilter(err)
		}
	}
	d.explain(&r)
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
	d.takePolicies(changes)
	d.takeEndpoints(changes)
	if d.stale && d.settings.Config != nil {
		d.setRenderers()
	}
	if d.stale || changes.Whole || !changes.HostEndpoints.Empty() || d.settings.IPVS && !changes.Endpoints.Empty() {
		d.markEndpoints()
	}
	d.stale = false
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

// applyAll makes the kernel match, in the order in which nothing opens that is to be closed: a pod's rules come before
// its route.
func (d *Dataplane) applyAll(ctx context.Context, r *result) {
	r.fail(d.apply(ctx, d.drivers.Tunnels))
	r.fail(d.apply(ctx, d.drivers.Sysctls))
	filtered := d.protect(ctx, false)
	for i, f := range d.families {
		f.enforced = filter.Enforced(filtered[i])
		f.stood = f.stood || f.enforced
		r.failFilter(filtered[i])
		if f.stood { // pods are not to be reached before their policy is
			r.fail(d.apply(ctx, f.Routes))
		}
		// last: what comes after meets the rules
		r.fail(d.apply(ctx, f.Connections))
		r.Enforced[f.Family] = f.enforced
	}
}

// protect makes sets and rules as desired, and returns the error of each family. What takes time is the commands, which
// run for all families at a time. With keep sets lose nothing.
func (d *Dataplane) protect(ctx context.Context, keep bool) []error {
	errs, finish := make([]error, len(d.families)), make([]func() error, len(d.families))
	for i, f := range d.families {
		c := f.commit()
		c.Keep = keep
		finish[i] = f.Filter.Start(ctx, c)
	}
	for i, f := range d.families {
		errs[i] = finish[i]()
		d.countFiltered(f.Filter.Name(), errs[i])
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
