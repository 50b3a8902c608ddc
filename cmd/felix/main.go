// Command felix is the node agent.
//
// Go listens for Multipath TCP by default. Such sockets take neither the TTL that TTL security of BGP sessions
// needs (RFC 5082) nor an MD5 key, so felix listens for plain TCP.
//
//go:debug multipathtcp=0
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
