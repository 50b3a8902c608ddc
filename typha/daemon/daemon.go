// Package daemon is the Typha process: configuration, the datastore, the listeners for
// nodes, health and metrics around a typha.Local.
//
// It is called by cmd/typha on the main goroutine and ends when its context does. It keeps no
// state of the network.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/connect"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/balance"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/metric"
	"github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/transport"
)

// Main runs a Typha until ctx ends, or, with the argument "status", shows what the nodes of one that runs report, or,
// with "settings", writes WriteDoc's table. It gives the exit status.
func Main(ctx context.Context, environ, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "status" {
		return status(ctx, environ, args[1:], stdout, stderr)
	}
	if len(args) == 1 && args[0] == "settings" {
		if err := WriteDoc(stdout); err != nil {
			_, _ = fmt.Fprintln(stderr, "typha settings:", err)
			return 1
		}
		return 0
	}
	cfg, err := ParseConfig(environ, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "typha:", err)
		return 2
	}
	level, _ := cfg.level() // validated
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	for _, name := range cfg.Unknown {
		log.Warn("environment variable has no effect", "name", name, "reason",
			"Typha has no such setting: see typha -help")
	}
	if err := Run(ctx, cfg, log); err != nil && ctx.Err() == nil {
		log.Error("typha ends", "error", err)
		return 1
	}
	return 0
}

// Run runs a Typha until ctx ends or something that it cannot do without fails. When ctx ends, the nodes are handed
// over to the other replicas before Run returns.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	store, err := connect.Open(connect.Config{Type: connect.Type(cfg.DatastoreType), Kubeconfig: cfg.Kubeconfig,
		Etcd: cfg.Etcd})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	// Kube-controllers, which etcd lacks, write what nodes answer.
	kinds := append(sync.KubernetesKinds(), datastore.CalicoNodeStatuses)
	if store.Type == connect.Etcd {
		kinds = sync.EtcdKinds()
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	log = metric.CountLog(log, registry, "typha")
	view := sync.NewView(kinds)
	registry.MustRegister(view, auth.NewExpiry("typha", cfg.tls()))
	local := typha.NewLocal(typha.LocalOptions{Store: store, View: view, Logger: log, Metrics: hub.NewMetrics(registry),
		MaxFallBehind: cfg.ServerMaxFallBehind, GracePeriod: cfg.ServerNewClientFallBehindGracePeriod,
		Budget: cfg.Budget})
	replicas, err := findReplicas(cfg, store, log)
	if err != nil {
		return err
	}
	server, err := newServer(cfg, store, local.Hub(), transport.ServerOptions{
		Logger: log, Metrics: transport.NewMetrics(registry), Balance: balance.Options{Alone: replicas.alone}})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address(cfg.ServerHost, cfg.ServerPort))
	if err != nil {
		return fmt.Errorf("accept nodes: %w", err)
	}
	log.Info("accepting nodes", "address", listener.Addr().String())
	parts := []func(context.Context) error{local.Run, func(ctx context.Context) error {
		return replicas.run(ctx,
			server.SetMaxStreams, local.Hub())
	}}
	if cfg.HealthEnabled {
		parts = append(parts, func(ctx context.Context) error {
			return serveHTTP(ctx, address(cfg.HealthHost, cfg.HealthPort), health(local.Hub(), view, server.Draining))
		})
	}
	if cfg.PrometheusMetricsEnabled {
		mux := http.NewServeMux()
		mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		parts = append(parts, func(ctx context.Context) error {
			return serveHTTP(ctx, address(cfg.PrometheusMetricsHost, cfg.PrometheusMetricsPort), mux)
		})
	}
	return together(ctx, func(ctx context.Context) error { return server.Serve(ctx, listener) }, parts)
}

// together runs the server until ctx ends or a part fails, and the parts until the server has handed its last node
// over.
func together(ctx context.Context, serve func(context.Context) error, parts []func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g.Go(func() error {
		defer stop()
		return serve(ctx)
	})
	for _, part := range parts {
		g.Go(func() error {
			if err := part(working); working.Err() == nil {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

func (c Config) tls() auth.TLS {
	return auth.TLS{CAFile: c.CAFile, CertFile: c.ServerCertFile, KeyFile: c.ServerKeyFile, PeerCN: c.ClientCN,
		PeerURISAN: c.ClientURISAN}
}

// newServer fills in what the configuration says.
func newServer(cfg Config, store *connect.Datastore, h *hub.Hub, opts transport.ServerOptions) (*transport.Server,
	error) {
	opts.Hub, opts.TLS = h, cfg.tls()
	opts.HandshakeTimeout, opts.PingInterval = cfg.ServerHandshakeTimeout, cfg.ServerPingInterval
	opts.Balance.DropInterval = cfg.ConnectionDropInterval
	opts.Balance.ShutdownTimeout, opts.Balance.ShutdownInterval = cfg.ShutdownTimeout,
		cfg.ShutdownConnectionDropIntervalMax
	if cfg.ClientIdentity == IdentityToken {
		var err error
		opts.Tokens, err = tokens(cfg, store.API)
		if err != nil {
			return nil, err
		}
	}
	return transport.NewServer(opts)
}

// ownNamespaceFile is where a pod finds the name of its namespace.
const ownNamespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// tokens makes the verifier of service-account tokens, with the keys of the API server.
func tokens(cfg Config, kube *rest.Config) (*auth.Tokens, error) {
	client, err := rest.HTTPClientFor(kube)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", kube.Host, err)
	}
	base, _, err := rest.DefaultServerUrlFor(kube)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", kube.Host, err)
	}
	own, err := os.ReadFile(ownNamespaceFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("find own namespace: %w", err)
	}
	nodes, observers, err := cfg.subjects(strings.TrimSpace(string(own)))
	if err != nil {
		return nil, err
	}
	url := base.JoinPath("/openid/v1/jwks").String()
	return &auth.Tokens{Subjects: nodes, Observers: observers,
		Fetch: func(ctx context.Context) ([]byte, error) { return fetch(ctx, client, url) }}, nil
}

// fetchTimeout bounds a request of the keys, during which the connecting node waits.
const fetchTimeout = 10 * time.Second

func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s; Typha's service account needs the non-resource URL /openid/v1/jwks", url,
			response.Status)
	}
	return body, nil
}
