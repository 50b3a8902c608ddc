package linux

import (
	"context"
	"errors"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
)

// Clean removes everything that the drivers made in the present network namespace: rules, sets, routes and tunnels of
// both families and both variants of iptables. What it could not do is its error; repeating it is harmless.
func Clean(ctx context.Context, c config.Config) error {
	c.Ipv6Support, c.IptablesBackend = true, string(iptables.NFT)
	k, err := Open(ctx, &c)
	if err != nil {
		return err
	}
	defer k.Close()
	drivers := k.Dataplane.drivers
	var errs []error
	for _, f := range drivers.Families {
		f.Routes.Replace(nil) // until then the driver keeps what it finds
		errs = append(errs, iptables.Clean(ctx, f.Family), f.Routes.Apply(ctx))
	}
	drivers.Tunnels.Replace(nil)
	return errors.Join(append(errs, drivers.Tunnels.Apply(ctx))...)
}
