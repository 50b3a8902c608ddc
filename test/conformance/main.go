// Command conformance judges Maneki with the upstream end-to-end tests of Kubernetes: it brings a cluster
// up, installs the chart with its defaults, runs the tests that match, and removes the cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/maneki-net/maneki/test/cluster"
	"github.com/maneki-net/maneki/test/deploy"
)

func main() {
	focus := flag.String("focus", "Netpol", "tests to run, a regular expression on their names")
	skip := flag.String("skip", "SCTP", "tests to leave out: this kernel may have no SCTP sockets")
	keep := flag.Bool("keep", os.Getenv("KEEP") == "1", "leave the cluster up")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *focus, *skip, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, focus, skip string, keep bool) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	program := filepath.Join(root, ".cache", "bin", "e2e.test")
	fmt.Println("building the upstream tests: minutes when it is the first time")
	build := exec.CommandContext(ctx, "go", "test", "-C", "hack/conformance", "-c", "-o", program, ".")
	if err := shown(build, os.Stdout); err != nil {
		return fmt.Errorf("build the upstream tests: %w", err)
	}
	config := cluster.Config{Name: "conform", Nodes: 2, IP: cluster.Dual, CNI: cluster.CNINone, Root: root,
		Progress: os.Stdout}
	if !keep {
		// Not ctx: an interrupted run cleans up too.
		defer func() { err = errors.Join(err, cluster.Down(context.WithoutCancel(ctx), config)) }()
	}
	c, err := cluster.Up(ctx, config)
	if err != nil {
		return err
	}
	tools, err := deploy.Prepare(ctx, c, root, os.Stdout)
	if err != nil {
		return err
	}
	environ := tools.Environ(c)
	install := exec.CommandContext(ctx, "bash", "-c",
		"helm upgrade --install maneki charts/maneki -n calico-system --create-namespace && "+
			"kubectl rollout status -n calico-system daemonset/calico-node --timeout=150s && kubectl wait node --all "+
			"--for=condition=Ready --timeout=60s")
	install.Env = environ
	if err := shown(install, os.Stdout); err != nil {
		return fmt.Errorf("install Maneki: %w", err)
	}
	start := time.Now()
	tests := exec.CommandContext(ctx, program, "-test.timeout=0", "-provider=skeleton", "-kubeconfig="+c.Kubeconfig(),
		"-ginkgo.focus="+focus, "-ginkgo.skip="+skip, "-ginkgo.no-color", "-ginkgo.timeout=2h",
		"-allowed-not-ready-nodes=0")
	tests.Env = environ
	log, err := os.Create(filepath.Join(root, ".cache", "conformance.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Println("running; all that the tests say goes to", log.Name())
	err = shown(tests, log)
	fmt.Printf("took %s; the end of the log:\n", time.Since(start).Round(time.Second))
	tail := exec.CommandContext(context.WithoutCancel(ctx), "tail", "-n", "12", log.Name())
	return errors.Join(err, shown(tail, os.Stdout))
}

func shown(cmd *exec.Cmd, out io.Writer) error {
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	}
	return cmd.Run()
}
