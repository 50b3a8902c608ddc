package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// networkState are the commands that show a network namespace, and the files
// that their output goes to.
var networkState = []struct{ file, command string }{
	{"addr", "ip -d addr"},
	{"route", "ip route show table all; ip -6 route show table all"},
	{"rule", "ip rule; ip -6 rule"},
	{"neigh", "ip neigh; bridge fdb"},
	{"iptables", "iptables-save -c; ip6tables-save -c"},
	{"iptables-legacy", "iptables-legacy-save -c; ip6tables-legacy-save -c"},
	{"nft", "nft list ruleset"},
	{"ipset", "ipset list"},
	{"conntrack", "conntrack -L; conntrack -L -f ipv6"},
	{"sockets", "ss -tulpn"},
}

// nodeState are those that show the rest of a node.
var nodeState = []struct{ file, command string }{
	{"processes", "ps axfww -o pid,ppid,stat,start,rss,args"},
	{"mounts", "cat /proc/self/mountinfo"},
	{"cni", "find /etc/cni /opt/cni -ls; cat /etc/cni/net.d/*"},
	{"containers", "ctr --address=" + containerdSock + " --namespace=k8s.io containers list"},
	{"images", "ctr --address=" + containerdSock + " --namespace=k8s.io images list"},
}

// Dump writes down what can be seen of the cluster, for someone who looks for a
// failure after it is gone: API objects without Secrets, logs of pods and components, and the
// network of every node. It returns the directory, which lies beside the
// cluster's and outlives it. A part that can't be had leaves its error in its file.
func (cl *Cluster) Dump(ctx context.Context) (string, error) {
	dir := cl.Dir() + "-dump-" + time.Now().UTC().Format("20060102-150405")
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range cl.nodes {
		g.Go(func() error { return n.dump(ctx, filepath.Join(dir, n.Name)) })
	}
	for _, s := range []Space{cl.Router(), cl.Tor()} {
		g.Go(func() error {
			for _, c := range networkState {
				if err := capture(s.Command(ctx, "sh", "-c", c.command),
					filepath.Join(dir, s.Name, c.file)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error { return cl.dumpObjects(ctx, filepath.Join(dir, "objects")) })
	if err := g.Wait(); err != nil {
		return dir, fmt.Errorf("dump cluster %s: %w", cl.config.Name, err)
	}
	return dir, nil
}

func (n *Node) dump(ctx context.Context, dir string) error {
	for _, c := range append(networkState, nodeState...) {
		cmd, err := n.Command(ctx, "sh", "-c", c.command)
		if err != nil {
			break // the node is down; its logs are there
		}
		if err := capture(cmd, filepath.Join(dir, c.file)); err != nil {
			return err
		}
	}
	// Logs that are written meanwhile, or pods that go, are no reason to stop.
	cmd := exec.CommandContext(ctx, "cp", "-a", filepath.Join(n.Dir, "log"), dir+"/")
	return capture(cmd, filepath.Join(dir, "copy-logs"))
}

func (cl *Cluster) dumpObjects(ctx context.Context, dir string) error {
	kinds, err := cl.Kubectl(ctx, "api-resources", "--verbs=list", "--output=name")
	if err != nil {
		kinds = err.Error() // the API server is down: so says every file
	}
	events, err := cl.KubectlCommand(ctx, "get", "events", "--all-namespaces", "--sort-by=.lastTimestamp")
	if err != nil {
		return err
	}
	if err := capture(events, filepath.Join(dir, "events")); err != nil {
		return err
	}
	var wanted []string
	for _, k := range strings.Fields(kinds) {
		if k != "secrets" && !strings.HasPrefix(k, "events") {
			wanted = append(wanted, k)
		}
	}
	for _, output := range []string{"wide", "yaml"} {
		cmd, err := cl.KubectlCommand(ctx, "get", strings.Join(wanted, ","), "--all-namespaces", "--ignore-not-found",
			"--output="+output)
		if err != nil {
			return err
		}
		if err := capture(cmd, filepath.Join(dir, "all."+output)); err != nil {
			return err
		}
	}
	return nil
}

// capture runs the command and writes what it says, and how it failed, to a file.
func capture(cmd *exec.Cmd, name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(f, "%s: %v\n", strings.Join(cmd.Args, " "), err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}
