package stream

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/metric"
)

// Metrics are the figures of a Hub and a Server, by the names that Calico's dashboards use.
type Metrics struct {
	accepted, dropped, turnedAway, returned, grace, snapshots, reused, updates, skipped, blocked, unblocked prometheus.Counter
	active, streaming, sequence, cacheSize, rawSize, compressedSize                                         prometheus.Gauge
	nodes, lagging, unread, failing, downgraded, observers                                                  prometheus.Gauge
	perMessage, commitSize, nextLatency, clientLatency                                                      *sampled
	snapshotSend, writeLatency, pingLatency                                                                 *sampled
	unusable                                                                                                *prometheus.GaugeVec // by kind
	calc                                                                                                    *calcMetrics
}

// NewMetrics makes the metrics and registers them; with a nil registry they are only counted.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labelsOf(name)})
		all = append(all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labelsOf(name)})
		all = append(all, g)
		return g
	}
	summary := func(name, help string) *sampled {
		s := metric.NewSummary(name, help, labelsOf(name))
		all = append(all, s)
		return &sampled{summary: s}
	}
	m := &Metrics{
		accepted:       counter("typha_connections_accepted", "Streams that nodes opened and were given."),
		dropped:        counter("typha_connections_dropped", "Streams that were refused or ended by Typha or with an error."),
		turnedAway:     counter("typha_connections_turned_away", "Connections that were closed before anybody proved who he is: too many, or too slow."),
		returned:       counter("typha_connections_returned", "Nodes that came back within 5 minutes after they were handed over."),
		grace:          counter("typha_connections_grace_used", "Streams that read so slowly after they began that only the grace period kept them."),
		snapshots:      counter("typha_snapshots_generated", "Snapshots made for nodes that connected."),
		reused:         counter("typha_snapshots_reused", "Compressed parts of snapshots that were sent again, to another node."),
		updates:        counter("typha_updates_total", "Resources taken in from the datastore."),
		skipped:        counter("typha_updates_skipped", "Resources taken in from the datastore whose change changes nothing for any node."),
		blocked:        counter("typha_breadcrumb_block", "Times that a stream waited for the next change."),
		unblocked:      counter("typha_breadcrumb_non_block", "Times that a change waited for the stream: the node reads more slowly than things change."),
		active:         gauge("typha_connections_active", "Streams that are open."),
		streaming:      gauge("typha_connections_streaming", "Streams that have been given their snapshot."),
		sequence:       gauge("typha_breadcrumb_seq_number", "Number of the newest change that was handed out."),
		cacheSize:      gauge("typha_cache_size", "Computed objects that are held for nodes."),
		rawSize:        gauge("typha_snapshot_raw_bytes", "Octets of the last snapshot before compression."),
		compressedSize: gauge("typha_snapshot_compressed_bytes", "Octets of the last snapshot as it was sent."),
		nodes:          gauge("typha_nodes", "Nodes that are connected."),
		lagging:        gauge("typha_nodes_lagging", "Connected nodes that have not enforced for 10 s what they were given."),
		unread:         gauge("typha_nodes_unread", "Connected nodes that have left changes unread for 10 s."),
		failing:        gauge("typha_nodes_failing", "Connected nodes that report errors."),
		downgraded:     gauge("typha_nodes_downgraded", "Connected nodes of an older release, for which rules that they cannot express are closed."),
		observers:      gauge("typha_observers", "Programs that follow what the nodes report."),
		perMessage:     summary("typha_kvs_per_msg", "Objects and deletions in a message to a node."),
		commitSize:     summary("typha_breadcrumb_size", "Objects and deletions in a change."),
		nextLatency:    summary("typha_next_breadcrumb_latency_secs", "Seconds that a stream which is behind waited for the next change."),
		clientLatency:  summary("typha_client_latency_secs", "Seconds that a change waited before a stream took it."),
		snapshotSend:   summary("typha_client_snapshot_send_secs", "Seconds that sending a snapshot took."),
		writeLatency:   summary("typha_client_write_latency_secs", "Seconds that handing a message to the transport took; it grows when a node reads slowly."),
		pingLatency:    summary("typha_ping_latency", "Seconds until a node answered a ping, which waits its turn in the stream."),
		unusable: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "typha_resource_unusable",
			Help: "Resources that cannot be used, in whole or in part."}, []string{"kind"}),
		calc: newCalcMetrics(),
	}
	if registry != nil {
		registry.MustRegister(append(all, m.unusable, m.calc)...)
	}
	return m
}

// unlabelled are the figures of Calico's Typha that are not of one of its streams, and those that it does not have.
var unlabelled = []string{"typha_connections_accepted", "typha_connections_active", "typha_connections_dropped",
	"typha_connections_turned_away", "typha_connections_returned", "typha_nodes", "typha_nodes_lagging", "typha_nodes_unread",
	"typha_nodes_failing", "typha_nodes_downgraded", "typha_observers"}

// labelsOf returns the label that Calico gives the figures of one of its streams. Felix's is the only one here.
func labelsOf(name string) prometheus.Labels {
	if slices.Contains(unlabelled, name) {
		return nil
	}
	return prometheus.Labels{"syncer": "felix"}
}

// sampled is a summary that takes one observation a millisecond at most: what thousands of nodes are sent would
// otherwise cost more to observe than to send.
type sampled struct {
	summary prometheus.Summary
	last    atomic.Int64 // Unix nanoseconds
}

// Observe is for any goroutine.
func (s *sampled) Observe(v float64) {
	now, last := time.Now().UnixNano(), s.last.Load()
	if now-last >= int64(time.Millisecond) && s.last.CompareAndSwap(last, now) {
		s.summary.Observe(v)
	}
}

// took notes that a stream got a change, and how long after it asked.
func (m *Metrics) took(waited bool, after time.Duration) {
	if waited {
		m.blocked.Inc()
		return
	}
	m.unblocked.Inc()
	m.nextLatency.Observe(after.Seconds())
}
