package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/maneki-net/maneki/kube-controllers/runconfig"
	"github.com/maneki-net/maneki/typha/inbound"
)

// listenRetry is the time between two attempts to listen on a port that is taken.
const listenRetry = 10 * time.Second

// servers serve health on one address for as long as the program runs, and metrics and profiles where the configuration
// says. They run on every replica.
type servers struct {
	running    *runconfig.Running
	host, port string // of METRICS_ADDRESS
	log        *slog.Logger
	changed    chan struct{} // depth 1; written by follow's subscription, read by it

	// The rest is follow's.
	metrics, profiles extra
}

// serve adds the servers. ready reports whether admission can be served.
func serve(ctx context.Context, mgr ctrl.Manager, address string, ready healthz.Checker, running *runconfig.Running,
	log *slog.Logger) error {
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve metrics and health: %w", err)
	}
	s := &servers{running: running, log: log, changed: make(chan struct{}, 1)}
	s.host, s.port, err = net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("METRICS_ADDRESS: %q has no port: %w", address, err)
	}
	s.metrics = extra{name: "metrics", handler: metricsHandler()}
	s.profiles = extra{name: "profiles", handler: profileHandler()}
	running.OnChange(func() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	})
	grace := time.Second
	err = mgr.Add(&manager.Server{Name: "metrics and health", Server: inbound.HTTP(s.handler(ready), 0),
		ShutdownTimeout: &grace, Listener: inbound.Limit(listener, inbound.OfHTTP, nil)})
	if err != nil {
		return fmt.Errorf("add the server of metrics and health: %w", err)
	}
	if err := mgr.Add(everywhere(s.follow)); err != nil {
		return fmt.Errorf("add the servers that the configuration asks for: %w", err)
	}
	return nil
}

// everywhere is a Runnable that runs on every replica.
type everywhere func(context.Context) error

// Start implements manager.Runnable.
func (f everywhere) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }

func metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(metrics.Registry,
		promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	return mux
}

func profileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// handler answers on METRICS_ADDRESS. Probes ask there whatever the configuration says: with healthChecks Disabled they
// are told that all is well.
func (s *servers) handler(ready healthz.Checker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		if port := s.metricsPort(); port != s.port {
			http.Error(w, "KubeControllersConfiguration default has another prometheusMetricsPort: "+port,
				http.StatusNotFound)
			return
		}
		s.metrics.handler.ServeHTTP(w, r)
	})
	mux.Handle("/healthz", healthz.CheckHandler{Checker: healthz.Ping})
	mux.Handle("/readyz", healthz.CheckHandler{Checker: func(r *http.Request) error {
		if config := s.running.Config(); config != nil && !config.HealthChecks {
			return nil
		}
		return ready(r)
	}})
	return mux
}

// metricsPort returns where metrics are served; "0" is nowhere.
func (s *servers) metricsPort() string {
	if config := s.running.Config(); config != nil && config.MetricsPort != nil {
		return strconv.Itoa(*config.MetricsPort)
	}
	return s.port
}

// follow serves on the ports that the configuration asks for besides, until ctx ends.
func (s *servers) follow(ctx context.Context) error {
	defer s.metrics.stop()
	defer s.profiles.stop()
	for {
		metricsPort := s.metricsPort()
		if metricsPort == s.port {
			metricsPort = "0"
		}
		profilePort := "0"
		if config := s.running.Config(); config != nil {
			profilePort = strconv.Itoa(config.ProfilePort)
		}
		var retry <-chan time.Time
		for server, port := range map[*extra]string{&s.metrics: metricsPort, &s.profiles: profilePort} {
			if err := server.serveOn(ctx, s.host, port); err != nil {
				s.log.Error("cannot serve on the port of KubeControllersConfiguration default, will retry",
					"what", server.name, "error", err)
				retry = time.After(listenRetry)
			}
		}
		select {
		case <-s.changed:
		case <-retry:
		case <-ctx.Done():
			return nil
		}
	}
}

// extra is a server that the configuration may ask for.
type extra struct {
	name    string
	handler http.Handler
	port    string // where it serves; "" or "0" is nowhere
	stopped chan struct{}
	cancel  context.CancelFunc
}

// serveOn moves the server to a port, where 0 stops it.
func (e *extra) serveOn(ctx context.Context, host, port string) error {
	if port == e.port {
		return nil
	}
	e.stop()
	if port == "0" {
		return nil
	}
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	ctx, e.cancel = context.WithCancel(ctx)
	e.port, e.stopped = port, make(chan struct{})
	go func() {
		defer close(e.stopped)
		_ = inbound.ServeHTTP(ctx, listener, e.handler) // it ends with the listener, which only ctx closes
	}()
	return nil
}

// stop ends the server, and returns when its port is free.
func (e *extra) stop() {
	if e.cancel != nil {
		e.cancel()
		<-e.stopped
	}
	e.port, e.cancel = "", nil
}
