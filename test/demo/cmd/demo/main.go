// Command demo brings up a real three-node cluster on this machine, installs Maneki with Helm and shows what it
// does. It exits non-zero, with the reason, when a check fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/maneki-net/maneki/test/cluster"
	"github.com/maneki-net/maneki/test/demo"
	"github.com/maneki-net/maneki/test/deploy"
)

func main() {
	name := flag.String("name", "demo", "name of the cluster")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo failed: %v\n\nThe cluster is up as it was: look around with make "+
			"cluster-shell NAME=%[2]s NODE=node1, write its state\n"+
			"to files with make cluster-dump NAME=%[2]s, remove it with make cluster-down NAME=%[2]s.\n", err, *name)
		os.Exit(1)
	}
	fmt.Printf(`
What to try next:
  export KUBECONFIG=%[2]s
  make cluster-shell NAME=%[1]s NODE=node1      # a shell on a node: ip route, iptables-save, felix status
  make cluster-shell NAME=%[1]s NODE=tor        # the router outside the cluster
  less docs/troubleshooting.md
Remove it all:
  make cluster-down NAME=%[1]s
`, *name, ".cluster/"+*name+"/kubeconfig")
}

func run(ctx context.Context, name string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	start := time.Now()
	c, err := cluster.Up(ctx, cluster.Config{Name: name, Nodes: 3, Subnets: 2, IP: cluster.Dual, CNI: cluster.CNINone,
		Root: root, Progress: os.Stdout})
	if err != nil {
		return err
	}
	tools, err := deploy.Prepare(ctx, c, root, os.Stdout)
	if err != nil {
		return err
	}
	fmt.Printf("The cluster is up and the images are loaded after %s.\n", time.Since(start).Round(time.Second))
	return demo.New(c, tools, root, os.Stdout).Run(ctx)
}
