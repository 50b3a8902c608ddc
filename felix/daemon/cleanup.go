package daemon

import (
	"context"
	"errors"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
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
	return errors.Join(cniserver.RemoveInterfaces(ctx, ""), linux.Clean(ctx, *p.config))
}
