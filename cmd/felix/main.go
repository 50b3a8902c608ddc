// Command felix is the node agent.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/maneki-net/maneki/felix/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(daemon.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
