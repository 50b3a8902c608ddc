package daemon

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/discovery"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/transport"
)

// source is where commits come from, and what has to run for it.
type source struct {
	hub.Source
	whole bool // the first commit is everything
	run   func(context.Context) error
}

// openSource makes a client of Typha if one is configured, and otherwise Typha's parts in this process.
func (p *process) openSource(store *connect.Datastore, registry prometheus.Registerer) (source, error) {
	c, syncing := p.config, newSyncMetrics(registry)
	if c.TyphaAddr == "" && c.TyphaK8sServiceName == "" {
		local := typha.NewLocal(typha.LocalOptions{Store: store, View: sync.NewView(kinds(store.Type)), Logger: p.log,
			Metrics: hub.NewMetrics(registry)})
		registry.MustRegister(clusterMetrics(local.Hub().Cluster))
		syncing.syncing(transport.Resyncing)
		return source{&localSource{Source: local.Source(p.node), metrics: syncing}, true, local.Run}, nil
	}
	run, replicas := []func(context.Context) error(nil), balance.Replicas(balance.Fixed(c.TyphaAddr))
	if c.TyphaAddr == "" {
		if store.API == nil {
			return source{}, fmt.Errorf("find Typha: a Service (TyphaK8sServiceName) needs Kubernetes, and the "+
				"datastore is %s: set TyphaAddr", store.Type)
		}
		// Not the Service's own address: that needs kube-proxy, which may need this node's routes.
		watcher, err := discovery.New(discovery.Options{API: store.API, Namespace: c.TyphaK8sNamespace,
			Service: c.TyphaK8sServiceName, Port: discovery.PortName, Node: p.node, File: typhaFile, Log: p.log})
		if err != nil {
			return source{}, fmt.Errorf("find Typha: %w", err)
		}
		run, replicas = append(run, watcher.Run), watcher
	}
	files := auth.TLS{CAFile: c.TyphaCAFile, CertFile: c.TyphaCertFile, KeyFile: c.TyphaKeyFile, PeerCN: c.TyphaCN,
		PeerURISAN: c.TyphaURISAN}
	registry.MustRegister(auth.NewExpiry("felix", files))
	known := p.journal.State()
	client, err := transport.NewClient(transport.ClientOptions{
		Node: p.node, Replicas: replicas, TokenFile: c.TyphaTokenFile, ReadTimeout: c.TyphaReadTimeout, Logger: p.log,
		TLS: files, Held: known.Objects, Versions: known.Versions, Datastore: known.Datastore, Syncing: syncing.syncing,
	})
	if err != nil {
		return source{}, err
	}
	registry.MustRegister(clusterMetrics(client.Cluster))
	return source{client, false, together(append(run, client.Run))}, nil
}

// kinds are what Typha's part reads of a datastore.
func kinds(t connect.Type) []datastore.Kind {
	if t == connect.Etcd {
		return sync.EtcdKinds()
	}
	return sync.KubernetesKinds()
}

// typhaFile keeps the addresses of Typha's replicas, for a start without the API server.
const typhaFile = "/var/lib/calico/felix/typha-replicas"

// together runs parts until one ends.
func together(parts []func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, part := range parts {
			group.Go(func() error { return part(ctx) })
		}
		return group.Wait()
	}
}
