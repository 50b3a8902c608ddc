// Package e2e tests Maneki as a user meets it: a real Kubernetes in namespaces, the Helm chart,
// kubectl and calicoctl. The tests share one cluster. They run in any order, and each runs alone:
// a test that needs Maneki installs it unless it is installed.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/maneki-net/maneki/test/cluster"
	"github.com/maneki-net/maneki/test/demo"
	"github.com/maneki-net/maneki/test/deploy"
)

const namespace = "calico-system"

// suite is what the tests share; TestMain sets it before the first.
var suite struct {
	cluster *cluster.Cluster
	environ []string
	tools   deploy.Tools
	root    string
	// installed reports whether Maneki is installed in the cluster.
	installed bool
	// routed reports whether the router outside the cluster has BGP sessions with the nodes.
	routed bool
}

func TestMain(m *testing.M) {
	flag.Parse()
	switch {
	case testing.Short():
		fmt.Println("end-to-end tests are skipped: -short")
	case os.Geteuid() == 0:
		os.Exit(run(m))
	case os.Getenv("CI") != "":
		log.Fatal("end-to-end tests need root")
	default:
		fmt.Println("end-to-end tests are SKIPPED: they need root")
	}
}

func run(m *testing.M) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := filepath.Abs("../..")
	if err != nil {
		log.Print(err)
		return 1
	}
	suite.root = root
	config := cluster.Config{Name: "e2e", Nodes: 3, Subnets: 2, IP: cluster.Dual, CNI: cluster.CNINone, Root: root,
		Progress: os.Stdout}
	// A run that was killed may have left its cluster.
	if err := cluster.Down(ctx, config); err != nil {
		log.Printf("remove the cluster of an earlier run: %v", err)
		return 1
	}
	defer func() {
		if code != 0 && suite.cluster != nil {
			dump()
		}
		if code != 0 && os.Getenv("KEEP") == "1" {
			fmt.Println("the cluster stays up: make cluster-shell NAME=e2e, make cluster-down NAME=e2e")
			return
		}
		// Not ctx: an interrupted run cleans up too.
		if err := cluster.Down(context.Background(), config); err != nil {
			log.Printf("remove the cluster: %v", err)
			code = 1
		}
	}()
	suite.cluster, err = cluster.Up(ctx, config)
	if err != nil {
		log.Print(err)
		return 1
	}
	suite.tools, err = deploy.Prepare(ctx, suite.cluster, root, os.Stdout)
	if err != nil {
		log.Print(err)
		return 1
	}
	suite.environ = suite.tools.Environ(suite.cluster)
	return m.Run()
}

// install installs Maneki as the demo does, unless it is installed.
func install(t *testing.T) {
	t.Helper()
	if suite.installed {
		return
	}
	if err := demo.New(suite.cluster, suite.tools, suite.root, os.Stdout).Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	suite.installed = true
}

// connectRouter connects the router outside the cluster as the demo does, unless it is connected.
func connectRouter(t *testing.T) {
	t.Helper()
	if suite.routed {
		return
	}
	if _, err := demo.New(suite.cluster, suite.tools, suite.root, os.Stdout).ConnectRouter(t.Context()); err != nil {
		t.Fatal(err)
	}
	suite.routed = true
}

func dump() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := suite.cluster.Dump(ctx)
	if err != nil {
		log.Printf("dump the cluster: %v", err)
	}
	fmt.Printf("the cluster's state is in %s\n", dir)
}

// sh runs a command line as a user would and gives its combined output.
func sh(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", line)
	cmd.Dir, cmd.Env = suite.root, suite.environ
	output, err := cmd.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("%s: %w\n%s", line, err, output)
	}
	return string(output), nil
}

// must is sh for a command that has to succeed.
func must(t *testing.T, line string) string {
	t.Helper()
	output, err := sh(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// input is must with a standard input.
func input(t *testing.T, line, stdin string) string {
	t.Helper()
	return must(t, line+" <<'END_OF_INPUT'\n"+stdin+"\nEND_OF_INPUT\n")
}

// eventually repeats a check until it returns nil, and fails with its last error at the deadline.
func eventually(t *testing.T, timeout time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		// What a check says when it is cut short hides why it failed before.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %s: %v", timeout, last)
		case <-ticker.C:
		}
	}
}

// onNode runs a command line in a node.
func onNode(ctx context.Context, node, line string) (string, error) {
	n, err := suite.cluster.Node(node)
	if err != nil {
		return "", err
	}
	return n.Exec(ctx, "sh", "-c", line)
}
