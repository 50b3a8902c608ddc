package stream

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of a Hub and a Server, by the names that Calico's dashboards use.
type Metrics struct {
	accepted, dropped, snapshots, updates, skipped prometheus.Counter
	active, streaming, sequence, cacheSize         prometheus.Gauge
	perMessage, snapshotSend, writeLatency         prometheus.Summary
	unusable                                       *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them; with a nil registry they are only counted.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	summary := func(name, help string) prometheus.Summary {
		return prometheus.NewSummary(prometheus.SummaryOpts{Name: name, Help: help,
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001}})
	}
	m := &Metrics{
		accepted:     counter("typha_connections_accepted", "Streams that nodes opened and were given."),
		dropped:      counter("typha_connections_dropped", "Streams that were refused or ended with an error."),
		snapshots:    counter("typha_snapshots_generated", "Snapshots made for nodes that connected."),
		updates:      counter("typha_updates_total", "Resources taken in from the datastore."),
		skipped:      counter("typha_updates_skipped", "Batches of resources that changed nothing for any node."),
		active:       gauge("typha_connections_active", "Streams that are open."),
		streaming:    gauge("typha_connections_streaming", "Streams that have been given their snapshot."),
		sequence:     gauge("typha_breadcrumb_seq_number", "Number of the newest change that was handed out."),
		cacheSize:    gauge("typha_cache_size", "Computed objects that are held for nodes."),
		perMessage:   summary("typha_kvs_per_msg", "Objects and deletions in a message to a node."),
		snapshotSend: summary("typha_client_snapshot_send_secs", "Seconds that sending a snapshot took."),
		writeLatency: summary("typha_client_write_latency_secs", "Seconds that handing a message to the transport took; it grows when a node reads slowly."),
		unusable: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "typha_resource_unusable",
			Help: "1 for a resource that cannot be used, in whole or in part."}, []string{"kind", "namespace", "name"}),
	}
	if registry != nil {
		registry.MustRegister(m.accepted, m.dropped, m.snapshots, m.updates, m.skipped, m.active, m.streaming,
			m.sequence, m.cacheSize, m.perMessage, m.snapshotSend, m.writeLatency, m.unusable)
	}
	return m
}
