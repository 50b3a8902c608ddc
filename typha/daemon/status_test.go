package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/maneki-net/maneki/test/dashboard"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/metric"
	"github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/transport"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestStatusShowsWhatNodesReport asks a hub with one node, as the command does.
func TestStatusShowsWhatNodesReport(t *testing.T) {
	h := hub.New(hub.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	server := httptest.NewServer(health(h, sync.NewView(nil), func() bool { return false }))
	defer server.Close()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	environ := []string{"TYPHA_HEALTHHOST=" + host, "TYPHA_HEALTHPORT=" + port}
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := Main(t.Context(), environ, append([]string{"status"}, args...), &out, &errs)
		return code, out.String() + errs.String()
	}
	if err := h.Update(t.Context(), hub.Update{Kind: "Pod", Listed: true}); err != nil {
		t.Fatal(err)
	}
	session, err := h.Connect(t.Context(), hub.Hello{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	session.Report(wire.Report{Applied: 1})
	if code, out := run(); code != 0 || !strings.Contains(out, "n1") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
	session.Report(wire.Report{Applied: 1, Errors: []string{"add route 10.0.0.0/26: no such device"}})
	if code, out := run(); code != 3 || !strings.Contains(out, "n1: add route 10.0.0.0/26: no such device") {
		t.Errorf("with an error: exit status %d:\n%s", code, out)
	}
	if code, out := run("-json"); code != 3 || !strings.Contains(out, `"applied": 1`) {
		t.Errorf("as JSON: exit status %d:\n%s", code, out)
	}
	server.Close()
	if code, out := run(); code != 1 || !strings.Contains(out, "TYPHA_HEALTHENABLED") {
		t.Errorf("without a Typha: exit status %d:\n%s", code, out)
	}
}

func TestShare(t *testing.T) {
	c := Config{MaxConnectionsLowerLimit: 10, MaxConnectionsUpperLimit: 1000}
	for _, x := range []struct{ nodes, replicas, want int }{{100, 3, 41}, {5, 3, 10}, {5000, 2, 1000}, {100, 0, 121}} {
		if got := c.share(x.nodes, x.replicas); got != x.want {
			t.Errorf("%d nodes and %d replicas: %d, want %d", x.nodes, x.replicas, got, x.want)
		}
	}
}

// TestPartsOutliveTheServer: what serves nodes goes on until the server has handed them over, and ends then.
func TestPartsOutliveTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	handing, handed := make(chan struct{}), make(chan struct{})
	partEnded := false
	serve := func(ctx context.Context) error {
		<-ctx.Done()
		close(handing)
		<-handed
		return nil
	}
	part := func(ctx context.Context) error {
		<-handing
		if ctx.Err() != nil {
			t.Error("the part was ended before the server")
		}
		close(handed)
		<-ctx.Done()
		partEnded = true
		return ctx.Err()
	}
	cancel()
	if err := together(ctx, serve, []func(context.Context) error{part}); err != nil || !partEnded {
		t.Errorf("%v, part ended: %v", err, partEnded)
	}
	broken := errors.New("broken")
	waits := func(ctx context.Context) error { <-ctx.Done(); return nil }
	if err := together(t.Context(), waits,
		[]func(context.Context) error{func(context.Context) error { return broken }}); !errors.Is(err, broken) {
		t.Errorf("a part that fails gives %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestFailuresOfTheLogAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	metric.CountLog(slog.New(slog.NewTextHandler(brokenWriter{}, nil)), registry, "typha").With("a", 1).Error("lost")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := f.GetMetric()[0].GetCounter().GetValue(); n != 1 {
			t.Errorf("%s is %v", f.GetName(), n)
		}
	}
}

// TestMetricsHaveCalicosNames: dashboards made for Calico's Typha find every figure. Those of one of its streams have
// the label syncer, and the others no label.
func TestMetricsHaveCalicosNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	hub.NewMetrics(registry)
	transport.NewMetrics(registry)
	metric.CountLog(slog.New(slog.DiscardHandler), registry, "typha")
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	samples, err := dashboard.Parse(w.Body.String())
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]string{} // the value of syncer, by metric
	for _, s := range samples {
		of[dashboard.Metric(s.Series)] = s.Labels["syncer"]
	}
	want := map[string]string{"connections_accepted": "", "connections_active": "", "connections_dropped": "",
		"log_errors":   "",
		"logs_dropped": ""}
	for _, name := range strings.Fields(
		`breadcrumb_block breadcrumb_non_block breadcrumb_seq_number breadcrumb_size cache_size
		client_latency_secs client_snapshot_send_secs client_write_latency_secs connections_grace_used connections_streaming
		kvs_per_msg next_breadcrumb_latency_secs ping_latency snapshot_compressed_bytes snapshot_raw_bytes snapshots_generated
		snapshots_reused updates_skipped updates_total`) {
		want[name] = "felix"
	}
	for name, syncer := range want {
		if got, there := of["typha_"+name]; !there || got != syncer {
			t.Errorf("typha_%s: syncer is %q, there: %v; want %q", name, got, there, syncer)
		}
	}
	for _, q := range dashboard.Queries(dashboard.Typha) {
		if !dashboard.OfTheProcess(dashboard.Metric(q.Series)) && len(q.Answers(samples)) == 0 {
			t.Errorf("%s: no sample of %s %v", q.Panel, q.Series, q.Matchers)
		}
	}
}
