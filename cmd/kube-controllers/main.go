// Command kube-controllers keeps the cluster's Maneki resources in order: it releases
// addresses that nobody uses, judges resources, and writes their status.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/maneki-net/maneki/kube-controllers/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(daemon.Main(ctx, os.Environ(), os.Args[1:], os.Stderr))
}
