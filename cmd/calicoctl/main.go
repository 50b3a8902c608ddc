// Command calicoctl manages the network and network policy of a cluster. Started as
// kubectl-calico it is a plugin of kubectl.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/maneki-net/maneki/calicoctl"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := calicoctl.Run(ctx, calicoctl.Environment{
		Name: os.Args[0], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Open: open, Agents: agents,
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

func open(c calicoctl.Connection) (datastore.Store, error) {
	config, err := c.REST()
	if err != nil {
		return nil, err
	}
	return kubernetes.New(config)
}

func agents(c calicoctl.Connection) (calicoctl.Agents, error) {
	config, err := c.REST()
	if err != nil {
		return nil, err
	}
	return calicoctl.NewAgents(config)
}
