package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/typha/discovery"
	"github.com/maneki-net/maneki/typha/hub"
)

// replicas knows how many Typhas there are, and gives this one its share of the nodes.
type replicas struct {
	cfg     Config
	watcher *discovery.Watcher // nil: the other replicas are not known of
	log     *slog.Logger
}

func findReplicas(cfg Config, store *connect.Datastore, log *slog.Logger) (*replicas, error) {
	r := &replicas{cfg: cfg, log: log}
	if cfg.ConnectionRebalancingMode != RebalanceKubernetes {
		return r, nil
	}
	var err error
	r.watcher, err = discovery.New(discovery.Options{API: store.API, Namespace: cfg.K8sNamespace,
		Service: cfg.K8sServiceName,
		Port:    cfg.K8sPortName, Log: log})
	if err != nil {
		return nil, fmt.Errorf("watch the replicas of Typha: %w", err)
	}
	return r, nil
}

// alone reports whether there is no other replica that a node could go to.
func (r *replicas) alone() bool {
	if r.watcher == nil {
		return false
	}
	pods, known := r.watcher.Replicas()
	return known && !slices.ContainsFunc(pods, func(pod string) bool { return pod != r.cfg.K8sPodName })
}

// run tells limit this replica's share of the nodes, whenever it is another, until ctx ends.
func (r *replicas) run(ctx context.Context, limit func(streams int), h *hub.Hub) error {
	if r.watcher == nil {
		return nil
	}
	watched := make(chan error, 1)
	go func() { watched <- r.watcher.Run(ctx) }()
	select {
	case <-h.InSync(): // the nodes can be counted
	case err := <-watched:
		return err
	}
	tick := time.NewTicker(max(r.cfg.K8sServicePollInterval, time.Second))
	defer tick.Stop()
	last := 0
	for {
		changed := r.watcher.Changed()
		nodes, err := h.Hosts(ctx)
		if pods, known := r.watcher.Replicas(); err == nil && known {
			if most := r.cfg.share(nodes, len(pods)); most != last {
				last = most
				limit(most)
				r.log.Info("share of the nodes", "streams", most, "nodes", nodes, "replicas", len(pods))
			}
		}
		select {
		case <-changed:
		case <-tick.C:
		case err := <-watched:
			return err
		}
	}
}

// share returns the most streams that one of so many replicas keeps. It is a fifth more than an even share, since nodes
// go to any replica by chance, and a surplus of few is not worth new connections.
func (c *Config) share(nodes, replicas int) int {
	share := 1 + nodes*6/5/max(1, replicas)
	return max(c.MaxConnectionsLowerLimit, min(share, c.MaxConnectionsUpperLimit))
}
