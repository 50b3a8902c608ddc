package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Space is a namespace without processes of its own: the router or tor.
type Space struct {
	// Name is the network namespace's, as in "ip netns exec NAME".
	Name string
}

// Command returns a command that runs in the network namespace.
func (s Space) Command(ctx context.Context, argv ...string) *exec.Cmd {
	enter := []string{"--net=" + filepath.Join(netnsDir, s.Name), "--"}
	return exec.CommandContext(ctx, "nsenter", append(enter, argv...)...)
}

// Exec runs a command in the network namespace and returns its standard output.
func (s Space) Exec(ctx context.Context, argv ...string) (string, error) {
	return output(s.Command(ctx, argv...), s.Name+": "+strings.Join(argv, " "))
}

// Command returns a command that runs in the named node, in "router" or in "tor", with KUBECONFIG set: a
// person who looks around there finds the cluster.
func (cl *Cluster) Command(ctx context.Context, where string, argv ...string) (*exec.Cmd, error) {
	cmd, err := cl.command(ctx, where, argv...)
	if err == nil {
		cmd.Env = append(os.Environ(), "KUBECONFIG="+cl.Kubeconfig())
	}
	return cmd, err
}

func (cl *Cluster) command(ctx context.Context, where string, argv ...string) (*exec.Cmd, error) {
	switch where {
	case routerName:
		return cl.Router().Command(ctx, argv...), nil
	case torName:
		return cl.Tor().Command(ctx, argv...), nil
	}
	n, err := cl.Node(where)
	if err != nil {
		return nil, err
	}
	return n.Command(ctx, argv...)
}
