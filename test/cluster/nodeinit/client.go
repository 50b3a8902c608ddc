package nodeinit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// Client speaks to process 1 of a node.
type Client struct {
	// Socket is the Spec's.
	Socket string
}

// Ensure starts the process, or restarts it when its arguments or revision
// differ; one that runs as asked for is left alone. Started tells which.
func (c Client) Ensure(ctx context.Context, p Process) (started bool, err error) {
	r, err := c.do(ctx, request{Ensure: &p})
	return r.Started, err
}

// Stop ends the named process, by force after ten seconds.
func (c Client) Stop(ctx context.Context, name string) error {
	_, err := c.do(ctx, request{Stop: name})
	return err
}

// Status returns all processes ever started, by name. It fails when the node
// does not run.
func (c Client) Status(ctx context.Context) (map[string]Status, error) {
	r, err := c.do(ctx, request{})
	return r.Processes, err
}

func (c Client) do(ctx context.Context, req request) (reply, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return reply{}, fmt.Errorf("reach process 1 of the node: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return reply{}, fmt.Errorf("ask process 1 of the node: %w", err)
	}
	var r reply
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return reply{}, fmt.Errorf("answer of process 1 of the node: %w", errors.Join(err, ctx.Err()))
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}
