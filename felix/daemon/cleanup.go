package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
)

// Cleanup removes everything that Felix made on the node: rules, sets, routes and tunnels of both families and
// both variants of iptables, and the pods' interfaces. The files stay. What it could not do is its error;
// repeating it is harmless.
func Cleanup(ctx context.Context) error {
	p, err := newProcess(discard)
	if err != nil {
		return err
	}
	p.journal.Close()
	return errors.Join(cniserver.RemoveInterfaces(ctx, ""), cleanKernel(ctx, *p.config))
}

// cleanKernel removes what the drivers made in the present network namespace.
func cleanKernel(ctx context.Context, c config.Config) error {
	c.Ipv6Support = true
	var errs []error
	for _, backend := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		c.IptablesBackend = string(backend)
		k, err := openKernel(ctx, &c)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, f := range k.drivers.Families {
			if !hasOurs(ctx, backend, f.Family) {
				continue
			}
			for _, rules := range []felix.Rules{f.Raw, f.Mangle, f.Filter, f.NAT} {
				if err := rules.Apply(ctx); err != nil {
					errs = append(errs, fmt.Errorf("remove %s rules of iptables-%s: %w", f.Family, backend, err))
				}
			}
		}
		if backend == iptables.Legacy { // the last: no rule names a set any more
			for _, f := range k.drivers.Families {
				f.Routes.Replace(nil) // until then the driver keeps what it finds
				errs = append(errs, f.Sets.Apply(ctx), f.Routes.Apply(ctx))
			}
			k.drivers.Tunnels.Replace(nil)
			errs = append(errs, k.drivers.Tunnels.Apply(ctx))
		}
		k.close()
	}
	return errors.Join(errs...)
}

// hasOurs reports whether a variant of iptables has chains of ours. Asking for all tables makes none, unlike
// asking for one; a variant that cannot be asked has nothing.
func hasOurs(ctx context.Context, backend iptables.Backend, family dataplane.Family) bool {
	name := "iptables-" + string(backend) + "-save"
	if family == dataplane.IPv6 {
		name = "ip6" + strings.TrimPrefix(name, "ip")
	}
	out, _, err := iptables.Run(ctx, iptables.Exec{}, iptables.Command{Name: name})
	return err == nil && strings.Contains(string(out), filter.ChainPrefix)
}
