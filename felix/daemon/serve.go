package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/typha/inbound"
)

// serveHealth answers the kubelet's probes, if HealthEnabled.
func (p *process) serveHealth(ctx context.Context, agent *felix.Agent) error {
	if !p.config.HealthEnabled {
		return nil
	}
	answer := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/liveness", answer(func() error { return agent.Alive(p.config.DataplaneWatchdogTimeout) }))
	mux.HandleFunc("/readiness", answer(agent.Ready))
	return listenAndServe(ctx, "tcp", healthAddress(p.config), mux)
}

func healthAddress(c *config.Config) string {
	return net.JoinHostPort(c.HealthHost, strconv.Itoa(int(c.HealthPort)))
}

// serveMetrics answers Prometheus, if PrometheusMetricsEnabled.
func (p *process) serveMetrics(ctx context.Context, registry *prometheus.Registry) error {
	if !p.config.PrometheusMetricsEnabled {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	address := net.JoinHostPort(p.config.PrometheusMetricsHost, strconv.Itoa(int(p.config.PrometheusMetricsPort)))
	return listenAndServe(ctx, "tcp", address, mux)
}

// serveDebug shows root on this node what the agent knows and has programmed.
func serveDebug(ctx context.Context, agent *felix.Agent) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		status, err := agent.Status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(status) // the reader went away
	})
	if err := os.MkdirAll(filepath.Dir(debugSocket), 0o755); err != nil {
		return fmt.Errorf("make debug socket: %w", err)
	}
	if err := os.Remove(debugSocket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make debug socket: %w", err)
	}
	return listenAndServe(ctx, "unix", debugSocket, mux)
}

// listenAndServe serves until ctx ends, and returns nil then.
func listenAndServe(ctx context.Context, network, address string, handler http.Handler) error {
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, network, address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	if network == "unix" {
		if err := os.Chmod(address, 0o600); err != nil {
			listener.Close()
			return fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	return inbound.ServeHTTP(ctx, listener, handler)
}

// fetchStatus reads the agent's status from the debug socket of the running process.
func fetchStatus(ctx context.Context) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
		error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", debugSocket)
	}}}
	return get(ctx, &client, "http://felix/status")
}
