package stream

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestClusterIsTold: a node knows how many there are in the cluster, and hears of a change that does not concern it, without
// a commit. One without the feature is not told.
func TestClusterIsTold(t *testing.T) {
	h, _ := startHub(t)
	site := newSite(t)
	address, _ := site.serve(h, ServerOptions{PingInterval: 10 * time.Millisecond})
	list(t, h, 10, pod("a", "n1", "web", "10.0.0.1"), allowFrom("db"))
	c := site.client(fixed(address), nil)
	old := site.client(fixed(address), func(o *ClientOptions) { o.Features = wire.AllFeatures &^ wire.FeatureCluster })
	site.run(c)
	site.run(old)
	next(t, c)
	next(t, old)
	knows := func(want wire.Cluster) func() bool {
		return func() bool {
			got, known := c.Cluster()
			return known && got == want
		}
	}
	waitFor(t, "the first counts", knows(wire.Cluster{Policies: 1, Tiers: 1, WorkloadEndpoints: 1}))
	update(t, h, 11, nil, pod("b", "n2", "web", "10.0.0.2"))
	waitFor(t, "a pod elsewhere", knows(wire.Cluster{Policies: 1, Tiers: 1, WorkloadEndpoints: 2}))
	update(t, h, 12, []string{"a", "b"})
	next(t, c) // its own pod is gone
	waitFor(t, "no pod", knows(wire.Cluster{Policies: 1, Tiers: 1}))
	if got, known := old.Cluster(); known {
		t.Errorf("a node that does not understand it was told %+v", got)
	}
	if local, known := h.Cluster(); !known || local != (wire.Cluster{Policies: 1, Tiers: 1}) {
		t.Errorf("the hub has %+v, known: %v", local, known)
	}
}

// TestSyncStates: a stream that breaks is told, and the next one is another resync.
func TestSyncStates(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 10)
	site := newSite(t)
	address, stop := site.serve(h, ServerOptions{})
	var mu sync.Mutex
	var states []SyncState
	told := func() []SyncState {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Clone(states))
	}
	c := site.client(func() string { mu.Lock(); defer mu.Unlock(); return address }, func(o *ClientOptions) {
		o.Syncing = func(s SyncState) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		}
	})
	site.run(c)
	next(t, c)
	waitFor(t, "the first stream", func() bool { return slices.Equal(told(), []SyncState{Waiting, Resyncing, InSync}) })
	stop()
	waitFor(t, "the end of the stream", func() bool { s := told(); return s[len(s)-1] == Waiting })
	again, _ := site.serve(h, ServerOptions{})
	mu.Lock()
	address = again
	mu.Unlock()
	next(t, c) // nothing changed, and yet there is a commit
	want := []SyncState{Waiting, Resyncing, InSync, Waiting, Resyncing, InSync}
	waitFor(t, "the second stream", func() bool { return slices.Equal(told(), want) })
}

// TestCalculationIsMeasured: what each figure of the calculation counts, with the labels that Calico's have.
func TestCalculationIsMeasured(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := NewHub(HubOptions{Kinds: []string{calc.KindPod, calc.KindNetworkPolicy}, Metrics: NewMetrics(registry)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	list(t, h, 1, pod("a", "n1", "web", "10.0.0.1"), pod("b", "n2", "db", "10.0.0.2"), allowFrom("db"))
	next(t, h.Source("n1"))
	is := func(name string, want float64) {
		t.Helper()
		waitFor(t, name, func() bool { return sample(t, registry, name) == want })
	}
	is(`felix_calc_graph_updates_processed{type="WorkloadEndpointKey"}`, 2)
	is(`felix_calc_graph_updates_processed{type="PolicyKey"}`, 1)
	is(`felix_label_index_num_endpoints{}`, 2)
	is(`felix_label_index_num_active_selectors{optimized="true"}`, 2)
	is(`felix_label_index_num_active_selectors{optimized="false"}`, 0)
	is(`felix_label_index_strategy_evals{strategy="parent-single-value"}`, 2)
	is(`felix_label_index_strategy_evals{strategy="endpoint-full-scan"}`, 0)
	events, took := sample(t, registry, "felix_calc_graph_output_events{}"), sample(t, registry, "felix_calc_graph_update_time_seconds{}")
	matched := sample(t, registry, `felix_label_index_selector_evals{result="true"}`)
	if events == 0 || took == 0 || matched < 2 {
		t.Errorf("%v events, %v observations, %v matches", events, took, matched)
	}
	update(t, h, 2, []string{"b"}, pod("a", "n1", "other", "10.0.0.1"))
	is(`felix_label_index_num_endpoints{}`, 1)
	waitFor(t, "more events", func() bool { return sample(t, registry, "felix_calc_graph_output_events{}") > events })
	waitFor(t, "more observations", func() bool { return sample(t, registry, "felix_calc_graph_update_time_seconds{}") > took })
	if skipped := sample(t, registry, `typha_updates_skipped{syncer="felix"}`); skipped != 0 {
		t.Errorf("%v updates were skipped", skipped)
	}
	update(t, h, 3, nil, pod("a", "n1", "other", "10.0.0.1"))
	is(`typha_updates_skipped{syncer="felix"}`, 1)
}

// sample reads one sample, or the count of a summary, by its name and labels.
func sample(t *testing.T, registry *prometheus.Registry, want string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			if f.GetName()+"{"+strings.Join(labels, ",")+"}" == want {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetSummary().GetSampleCount())
			}
		}
	}
	return 0
}
