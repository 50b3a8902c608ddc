package linux

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
)

// Clean removes everything that the drivers made in the present network namespace: rules, sets, routes and tunnels of both
// families and both variants of iptables. What it could not do is its error; repeating it is harmless.
func Clean(ctx context.Context, c config.Config) error {
	c.Ipv6Support = true
	var errs []error
	for _, backend := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		c.IptablesBackend = string(backend)
		k, err := Open(ctx, &c)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, f := range k.Dataplane.drivers.Families {
			if !hasOurs(ctx, backend, f.Family) {
				continue
			}
			for _, rules := range []Rules{f.Raw, f.Mangle, f.Filter, f.NAT} {
				if err := rules.Apply(ctx); err != nil {
					errs = append(errs, fmt.Errorf("remove %s rules of iptables-%s: %w", f.Family, backend, err))
				}
			}
		}
		if backend == iptables.Legacy { // the last: no rule names a set any more
			for _, f := range k.Dataplane.drivers.Families {
				f.Routes.Replace(nil) // until then the driver keeps what it finds
				errs = append(errs, f.Sets.Apply(ctx), f.Routes.Apply(ctx))
			}
			k.Dataplane.drivers.Tunnels.Replace(nil)
			errs = append(errs, k.Dataplane.drivers.Tunnels.Apply(ctx))
		}
		k.Close()
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
