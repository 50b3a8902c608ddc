package hub

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/metric"
)

// calcMetrics are the figures of the engine, by the names that Calico's Felix uses. Here the process that computes has
// them: Typha, or a Felix without Typha.
type calcMetrics struct {
	processed *prometheus.CounterVec
	events    prometheus.Counter
	took      prometheus.Summary
	stats     atomic.Pointer[calc.Stats] // nil before the first results

	working time.Duration // since the last step; owned by the goroutine of Hub.Run
}

func newCalcMetrics() *calcMetrics {
	return &calcMetrics{
		processed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "felix_calc_graph_updates_processed",
			Help: "Resources that the calculation took in, by Calico's type of key."}, []string{"type"}),
		events: prometheus.NewCounter(prometheus.CounterOpts{Name: "felix_calc_graph_output_events",
			Help: "Objects, changes of IP sets and deletions that the calculation gave out."}),
		took: metric.NewSummary("felix_calc_graph_update_time_seconds",
			"Time to calculate what changes of resources mean.", nil),
	}
}

// keyTypes are Calico's values of the label type. Kinds that are not listed have otherKey.
var keyTypes = map[string]string{
	calc.KindPod: "WorkloadEndpointKey", calc.KindWorkloadEndpoint: "WorkloadEndpointKey",
	calc.KindHostEndpoint: "HostEndpointKey", calc.KindTier: "TierKey",
	calc.KindNamespace: "ProfileRulesKey", calc.KindServiceAccount: "ProfileRulesKey",
	calc.KindProfile:       "ProfileRulesKey",
	calc.KindNetworkPolicy: policyKey, calc.KindClusterNetworkPolicy: policyKey,
	calc.KindCalicoNetworkPolicy: policyKey, calc.KindGlobalNetworkPolicy: policyKey,
	calc.KindStagedNetworkPolicy: policyKey, calc.KindStagedGlobalNetworkPolicy: policyKey,
	calc.KindStagedKubernetesNetworkPolicy: policyKey,
	calc.KindNetworkSet:                    "NetworkSetKey", calc.KindGlobalNetworkSet: "NetworkSetKey",
	calc.KindIPPool: "IPPoolKey", calc.KindIPAMBlock: "BlockKey", calc.KindFelixConfiguration: "GlobalConfigKey",
}

const policyKey, otherKey = "PolicyKey", "ResourceKey"

// received counts resources of a kind, and the time that the engine took for them.
func (m *calcMetrics) received(kind string, n int, took time.Duration) {
	m.working += took
	if n == 0 {
		return
	}
	key, known := keyTypes[kind]
	if !known {
		key = otherKey
	}
	m.processed.WithLabelValues(key).Add(float64(n))
}

// stepped counts the result of a step, and the time that it took.
func (m *calcMetrics) stepped(delta *calc.Delta, stats calc.Stats, took time.Duration) {
	m.took.Observe((m.working + took).Seconds())
	m.working = 0
	m.events.Add(float64(len(delta.Upserts) + len(delta.Sets) + len(delta.Deletes)))
	m.stats.Store(&stats)
}

var (
	indexEndpoints = prometheus.NewDesc("felix_label_index_num_endpoints",
		"Endpoints, network sets and nodes that selectors may select.", nil, nil)
	indexSelectors = prometheus.NewDesc("felix_label_index_num_active_selectors",
		"Selectors in use; optimized ones are found by a label or a namespace.", []string{"optimized"}, nil)
	indexEvals = prometheus.NewDesc("felix_label_index_selector_evals",
		"Evaluations of a selector, by whether it matched.", []string{"result"}, nil)
	indexScans = prometheus.NewDesc("felix_label_index_strategy_evals",
		"Searches for what a new selector selects: among all, or in its namespace.", []string{"strategy"}, nil)
)

// Describe implements prometheus.Collector.
func (m *calcMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{m.processed, m.events, m.took} {
		c.Describe(descs)
	}
	for _, d := range []*prometheus.Desc{indexEndpoints, indexSelectors, indexEvals, indexScans} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (m *calcMetrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.processed, m.events, m.took} {
		c.Collect(out)
	}
	s := calc.Stats{}
	if stats := m.stats.Load(); stats != nil {
		s = *stats
	}
	send := func(desc *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, t, v, labels...)
	}
	send(indexEndpoints, prometheus.GaugeValue, float64(s.Items))
	send(indexSelectors, prometheus.GaugeValue, float64(s.Indexed), "true")
	send(indexSelectors, prometheus.GaugeValue, float64(s.Unindexed), "false")
	send(indexEvals, prometheus.CounterValue, float64(s.Matched), "true")
	send(indexEvals, prometheus.CounterValue, float64(s.Unmatched), "false")
	send(indexScans, prometheus.CounterValue, float64(s.FullScans), "endpoint-full-scan")
	send(indexScans, prometheus.CounterValue, float64(s.NamespaceScans), "parent-single-value")
}
