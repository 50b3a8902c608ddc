package hub_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
)

// TestCalculationIsMeasured: what each figure of the calculation counts, with the labels that Calico's have.
func TestCalculationIsMeasured(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := hub.New(hub.Options{Kinds: []string{calc.KindPod, calc.KindNetworkPolicy}, Metrics: hub.NewMetrics(registry)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", "10.0.0.1"), hubtest.Pod("b", "n2", "db", "10.0.0.2"),
		hubtest.AllowFrom("db"))
	hubtest.Next(t, h.Source("n1"))
	is := func(name string, want float64) {
		t.Helper()
		hubtest.WaitFor(t, name, func() bool { return metrictest.Sample(t, registry, name) == want })
	}
	is(`felix_calc_graph_updates_processed{type="WorkloadEndpointKey"}`, 2)
	is(`felix_calc_graph_updates_processed{type="PolicyKey"}`, 1)
	is(`felix_label_index_num_endpoints{}`, 2)
	is(`felix_label_index_num_active_selectors{optimized="true"}`, 2)
	is(`felix_label_index_num_active_selectors{optimized="false"}`, 0)
	is(`felix_label_index_strategy_evals{strategy="parent-single-value"}`, 2)
	is(`felix_label_index_strategy_evals{strategy="endpoint-full-scan"}`, 0)
	events, took := metrictest.Sample(t, registry, "felix_calc_graph_output_events{}"),
		metrictest.Sample(t, registry, "felix_calc_graph_update_time_seconds{}")
	matched := metrictest.Sample(t, registry, `felix_label_index_selector_evals{result="true"}`)
	if events == 0 || took == 0 || matched < 2 {
		t.Errorf("%v events, %v observations, %v matches", events, took, matched)
	}
	hubtest.Update(t, h, 2, []string{"b"}, hubtest.Pod("a", "n1", "other", "10.0.0.1"))
	is(`felix_label_index_num_endpoints{}`, 1)
	hubtest.WaitFor(t, "more events", func() bool {
		return metrictest.Sample(t, registry,
			"felix_calc_graph_output_events{}") > events
	})
	hubtest.WaitFor(t, "more observations", func() bool {
		return metrictest.Sample(t, registry,
			"felix_calc_graph_update_time_seconds{}") > took
	})
	if skipped := metrictest.Sample(t, registry, `typha_updates_skipped{syncer="felix"}`); skipped != 0 {
		t.Errorf("%v updates were skipped", skipped)
	}
	hubtest.Update(t, h, 3, nil, hubtest.Pod("a", "n1", "other", "10.0.0.1"))
	is(`typha_updates_skipped{syncer="felix"}`, 1)
}
