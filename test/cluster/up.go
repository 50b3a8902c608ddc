package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maneki-net/maneki/test/build"
	"github.com/maneki-net/maneki/test/cluster/nodeinit"
	"github.com/maneki-net/maneki/test/images"
)

// testImages are in every cluster: the pod sandbox and the name server, which
// its own pods need, and the program that upstream tests run in pods.
var testImages = []string{"pause", "coredns", "agnhost"}

// Up brings the cluster up and returns when its nodes are Ready; with CNINone,
// when they are registered. A cluster that exists is converged: what died is
// started, nodes are added, what runs is kept. It needs root.
func Up(ctx context.Context, c Config) (*Cluster, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if os.Geteuid() != 0 {
		return nil, errors.New("a cluster needs root: it makes namespaces, links and mounts")
	}
	if err := InstallPackages(ctx, c.Progress); err != nil {
		return nil, err
	}
	prep, err := prepare(ctx, c)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, filepath.Join(recordDir, c.Name+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := claim(ctx, c)
	if err != nil {
		return nil, err
	}
	cl, err := open(r)
	if err != nil {
		return nil, err
	}
	cl.programs, cl.began = prep.programs, began
	if err := cl.converge(ctx, prep); err != nil {
		return nil, fmt.Errorf("bring up cluster %s: %w", c.Name, err)
	}
	return cl, nil
}

func (c Config) builder() build.Builder { return build.Builder{Root: c.Root, Progress: c.Progress} }

// prepared is what a cluster is made from.
type prepared struct {
	programs programs
	archives []images.Archive
	seed     string
}

// prepare builds what the cluster runs, unless that was done before.
func prepare(ctx context.Context, c Config) (prepared, error) {
	p, err := buildPrograms(ctx, c.builder())
	if err != nil {
		return prepared{}, err
	}
	archives, err := images.Builder{Programs: c.builder(), Version: images.DefaultVersion}.Build(ctx, testImages...)
	if err != nil {
		return prepared{}, err
	}
	seed, err := makeSeed(ctx, c, archives)
	return prepared{p, archives, seed}, err
}

func buildPrograms(ctx context.Context, b build.Builder) (p programs, err error) {
	p.nodeinit, err = b.Program(ctx, "./test/cluster/cmd/nodeinit")
	if err != nil {
		return p, err
	}
	p.etcd, err = b.Module(ctx, "etcd")
	if err != nil {
		return p, err
	}
	p.kubernetes, err = b.Module(ctx, "kubernetes")
	return p, err
}

// converge brings everything up. The control plane and the nodes start side by
// side; kubelets wait for the API server.
func (cl *Cluster) converge(ctx context.Context, prep prepared) error {
	cl.step("network: %d nodes on %d subnets, %s", len(cl.plan.Nodes), len(cl.plan.Subnets), join(cl.plan.Range))
	if err := buildTopology(cl.record, cl.plan); err != nil {
		return err
	}
	apiReady := make(chan struct{})
	g, started := errgroup.WithContext(ctx)
	for i, n := range cl.nodes {
		g.Go(func() error {
			revision, err := cl.boot(started, n, prep)
			if err != nil {
				return err
			}
			if i == 0 {
				g.Go(func() error {
					return cl.startControlPlane(started, revision, apiReady)
				})
			}
			return cl.startNode(started, n, revision, prep, apiReady)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return cl.awaitNodes(ctx)
}

// boot makes the node and its configuration.
func (cl *Cluster) boot(ctx context.Context, n *Node, prep prepared) (revision string, err error) {
	if err := n.plant(ctx, prep.seed, prep.archives); err != nil {
		return "", err
	}
	if err := n.boot(ctx, cl.programs.nodeinit); err != nil {
		return "", err
	}
	if err := n.writeRoot("/etc/hosts", cl.hosts()); err != nil {
		return "", err
	}
	revision, err = n.configure(cl.plan)
	if err != nil {
		return "", err
	}
	return revision, cl.installCNI(ctx, n)
}

func (cl *Cluster) hosts() []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, n := range cl.plan.Nodes {
		for _, a := range n.Addrs {
			fmt.Fprintf(&b, "%s %s\n", a.Addr(), n.Name)
		}
	}
	return b.Bytes()
}

// cniPlugins are those of the distribution that a node has in /opt/cni/bin from
// the start, as nodes installed with kubeadm do.
var cniPlugins = []string{"bandwidth", "bridge", "host-local", "loopback", "portmap", "ptp", "tuning"}

const debianCNIPlugins = "/usr/lib/cni"

func (cl *Cluster) installCNI(ctx context.Context, n *Node) error {
	script := "mkdir -p /opt/cni/bin /etc/cni/net.d && cd " + debianCNIPlugins + " && cp -u " +
		strings.Join(cniPlugins, " ") + " /opt/cni/bin/"
	if _, err := n.Exec(ctx, "sh", "-c", script); err != nil {
		return fmt.Errorf("install reference plugins: %w", err)
	}
	if cl.config.CNI != CNIPtp {
		return nil
	}
	body, err := render("ptp.conflist", newTemplateData(cl.config, cl.plan, n.NodePlan))
	if err != nil {
		return err
	}
	return n.writeRoot("/etc/cni/net.d/10-ptp.conflist", body)
}

// startControlPlane closes apiReady when the API server answers, and goes on to
// what needs it.
func (cl *Cluster) startControlPlane(ctx context.Context, revision string, apiReady chan<- struct{}) error {
	first := cl.nodes[0]
	start := func(processes ...nodeinit.Process) error {
		for _, p := range processes {
			p.Revision = revision
			if _, err := first.init.Ensure(ctx, p); err != nil {
				return fmt.Errorf("start %s: %w", p.Name, err)
			}
		}
		return nil
	}
	cl.step("control plane on %s", first.Name)
	if err := start(etcdProcess(cl.programs), apiServerProcess(cl.programs, cl.plan)); err != nil {
		return err
	}
	err := cl.await(ctx, "the API server", cl.api.ready)
	if err != nil {
		return err
	}
	close(apiReady)
	if err := start(controllerManagerProcess(cl.programs, cl.plan), schedulerProcess(cl.programs)); err != nil {
		return err
	}
	body, err := render("bootstrap.yaml", newTemplateData(cl.config, cl.plan, first.NodePlan))
	if err != nil {
		return err
	}
	return cl.Apply(ctx, body)
}

// startNode starts the node's own daemons and loads the test images.
func (cl *Cluster) startNode(ctx context.Context, n *Node, revision string, prep prepared,
	apiReady <-chan struct{}) error {
	start := func(p nodeinit.Process) error {
		p.Revision = revision
		if _, err := n.init.Ensure(ctx, p); err != nil {
			return fmt.Errorf("start %s of %s: %w", p.Name, n.Name, err)
		}
		return nil
	}
	if err := start(containerdProcess()); err != nil {
		return err
	}
	err := cl.await(ctx, "containerd of "+n.Name, func(ctx context.Context) error {
		_, err := n.Exec(ctx, "ctr", "--address="+containerdSock, "version")
		return err
	})
	if err != nil {
		return err
	}
	if err := n.loadOnce(ctx, prep.archives); err != nil {
		return err
	}
	select {
	case <-apiReady:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := start(kubeProxyProcess(cl.programs)); err != nil {
		return err
	}
	return start(kubeletProcess(cl.programs, cl.plan, n.NodePlan))
}

// awaitNodes waits for the nodes to be what Up promises.
func (cl *Cluster) awaitNodes(ctx context.Context) error {
	err := cl.await(ctx, "the nodes", func(ctx context.Context) error {
		ready, err := cl.api.nodeReady(ctx)
		if err != nil {
			return err
		}
		for _, n := range cl.nodes {
			r, registered := ready[n.Name]
			if !registered {
				return fmt.Errorf("%s is not registered", n.Name)
			}
			if !r && cl.config.CNI != CNINone {
				return fmt.Errorf("%s is not Ready", n.Name)
			}
		}
		return nil
	})
	if err != nil || cl.config.CNI == CNINone {
		return err
	}
	for _, n := range cl.plan.Nodes {
		if err := cl.api.setPodCIDRs(ctx, n); err != nil {
			return err
		}
	}
	_, err = cl.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
	return err
}

func (cl *Cluster) step(format string, args ...any) {
	fmt.Fprintf(cl.config.Progress, "%5.1fs  %s\n", time.Since(cl.began).Seconds(), fmt.Sprintf(format, args...))
}
