package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Cluster is a cluster that is up, or was.
type Cluster struct {
	record   record
	config   Config
	plan     Plan
	nodes    []*Node
	programs programs  // set by Up
	began    time.Time // what progress is counted from
	api      apiClient
}

// Open returns a cluster that was brought up before.
func Open(c Config) (*Cluster, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	r, err := readRecord(c.Name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %s: bring it up first", c.Name)
	}
	if err != nil {
		return nil, err
	}
	if r.State != stateDir(c) {
		return nil, fmt.Errorf("cluster %s belongs to another checkout, whose state is in %s", c.Name, r.State)
	}
	r.Config.Root, r.Config.Progress = c.Root, c.Progress
	return open(r)
}

func open(r record) (*Cluster, error) {
	cl := &Cluster{config: r.Config, plan: newPlan(r.Config, r.Index), record: r, began: time.Now()}
	for _, n := range cl.plan.Nodes {
		cl.nodes = append(cl.nodes, r.node(n))
	}
	if err := issueCredentials(r, cl.plan); err != nil {
		return nil, err
	}
	var err error
	cl.api, err = newAPIClient(r, cl.plan)
	return cl, err
}

// Dir is the state directory, absolute. What is put there goes with the cluster.
func (cl *Cluster) Dir() string { return cl.record.State }

// Kubeconfig is the path of the administrator's kubeconfig.
func (cl *Cluster) Kubeconfig() string { return filepath.Join(cl.record.State, "kubeconfig") }

// Plan is the cluster's addresses. It must not be changed.
func (cl *Cluster) Plan() Plan { return cl.plan }

// Nodes are all nodes; the first has the control plane.
func (cl *Cluster) Nodes() []*Node { return cl.nodes }

// Node returns the node of that name.
func (cl *Cluster) Node(name string) (*Node, error) {
	for _, n := range cl.nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("cluster %s has no node %s", cl.config.Name, name)
}

// NodeNamespace is the name of the node's network namespace, as in "ip netns exec NAME".
func (cl *Cluster) NodeNamespace(node string) string { return cl.record.netnsName(node) }

// TorNamespace is the name of tor's network namespace.
func (cl *Cluster) TorNamespace() string { return cl.record.netnsName(torName) }

// Router is the namespace that routes between the subnets.
func (cl *Cluster) Router() Space { return Space{cl.record.netnsName(routerName)} }

// Tor is the namespace outside the cluster that plays the top-of-rack router: it
// has a leg in every subnet of nodes, and an address in a network of its own.
func (cl *Cluster) Tor() Space { return Space{cl.TorNamespace()} }

// Kubectl runs kubectl as administrator and returns its output.
func (cl *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	cmd, err := cl.KubectlCommand(ctx, args...)
	if err != nil {
		return "", err
	}
	return output(cmd, "kubectl "+strings.Join(args, " "))
}

// KubectlCommand returns the command that Kubectl would run.
func (cl *Cluster) KubectlCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	dir, err := cl.config.builder().Module(ctx, "kubernetes")
	if err != nil {
		return nil, err
	}
	common := []string{"--kubeconfig=" + cl.Kubeconfig(), "--cache-dir=" + filepath.Join(cl.Dir(), "kubectl")}
	return exec.CommandContext(ctx, filepath.Join(dir, "kubectl"), append(common, args...)...), nil
}

// Apply applies manifests, server-side.
func (cl *Cluster) Apply(ctx context.Context, manifests []byte) error {
	cmd, err := cl.KubectlCommand(ctx, "apply", "--server-side", "--force-conflicts", "-f", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = bytes.NewReader(manifests)
	_, err = output(cmd, "kubectl apply")
	return err
}

// LoadImage imports image archives into every node.
func (cl *Cluster) LoadImage(ctx context.Context, archives ...string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range cl.nodes {
		g.Go(func() error {
			for _, a := range archives {
				if err := n.LoadImage(ctx, a); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
