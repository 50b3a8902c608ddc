// Command typha watches the datastore and streams to each node what that node needs.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/maneki-net/maneki/typha/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(daemon.Main(ctx, os.Environ(), os.Args[1:], os.Stdout, os.Stderr))
}
