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
	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/datastore/kubernetes/derived"
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
	if c.Type == connect.Etcd {
		return etcd.New(c.Etcd)
	}
	config, err := c.REST()
	if err != nil {
		return nil, err
	}
	store, err := kubernetes.New(config)
	if err != nil {
		return nil, err
	}
	return derived.New(store.Merging()), nil
}

func agents(c calicoctl.Connection) (calicoctl.Agents, error) {
	config, err := c.REST()
	if err != nil {
		return nil, err
	}
	return calicoctl.NewAgents(config)
}
