package hub

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/metric"
)

// Metrics are the figures of a Hub, by the names that Calico's dashboards use.
type Metrics struct {
	updates  updateMetrics
	sessions sessionMetrics
	unusable *prometheus.GaugeVec // by kind
	calc     *calcMetrics
}

// updateMetrics are the figures of what the Hub receives and hands out.
type updateMetrics struct {
	all, skipped        prometheus.Counter
	sequence, cacheSize prometheus.Gauge
	commitSize          *metric.Sampled
}

// sessionMetrics are the figures of the sessions.
type sessionMetrics struct {
	grace, snapshots, blocked, unblocked        prometheus.Counter
	nodes, lagging, unread, failing, downgraded prometheus.Gauge
	nextLatency, clientLatency                  *metric.Sampled
}

// NewMetrics makes the metrics and registers them; with a nil registry they are only counted.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	all := metric.NewSet(registry)
	stream := all.With(metric.OfFelix())
	m := &Metrics{
		updates: updateMetrics{
			all: stream.Counter("typha_updates_total", "Resources received from the datastore."),
			skipped: stream.Counter("typha_updates_skipped",
				"Resources received from the datastore whose change changes nothing for any node."),
			sequence:   stream.Gauge("typha_breadcrumb_seq_number", "Number of the newest change that was handed out."),
			cacheSize:  stream.Gauge("typha_cache_size", "Computed objects that are held for nodes."),
			commitSize: stream.Sampled("typha_breadcrumb_size", "Objects and deletions in a change."),
		},
		sessions: sessionMetrics{
			grace: stream.Counter("typha_connections_grace_used",
				"Streams that read so slowly after they began that only the grace period kept them."),
			snapshots: stream.Counter("typha_snapshots_generated", "Snapshots made for nodes that connected."),
			blocked:   stream.Counter("typha_breadcrumb_block", "Times that a stream waited for the next change."),
			unblocked: stream.Counter("typha_breadcrumb_non_block",
				"Times that a change waited for the stream: the node reads more slowly than things change."),
			nodes: all.Gauge("typha_nodes", "Nodes that are connected."),
			lagging: all.Gauge("typha_nodes_lagging",
				"Connected nodes that have not enforced for 10 s what they were given."),
			unread:  all.Gauge("typha_nodes_unread", "Connected nodes that have left changes unread for 10 s."),
			failing: all.Gauge("typha_nodes_failing", "Connected nodes that report errors."),
			downgraded: all.Gauge("typha_nodes_downgraded",
				"Connected nodes of an older release, for which rules that they cannot express are closed."),
			nextLatency: stream.Sampled("typha_next_breadcrumb_latency_secs",
				"Seconds that a stream which is behind waited for the next change."),
			clientLatency: stream.Sampled("typha_client_latency_secs",
				"Seconds that a change waited before a stream took it."),
		},
		unusable: all.GaugeBy("kind", "typha_resource_unusable", "Resources that cannot be used, in whole or in part."),
		calc:     newCalcMetrics(),
	}
	all.Register(m.calc)
	return m
}

// received counts the resources of an update, and the time that the engine took for them.
func (m *Metrics) received(kind string, n int, took time.Duration) {
	m.updates.all.Add(float64(n))
	m.calc.received(kind, n, took)
}

// distributed counts a change that was handed out.
func (m *updateMetrics) distributed(sequence uint64, objects int, delta *calc.Delta) {
	m.sequence.Set(float64(sequence))
	m.commitSize.Observe(float64(len(delta.Upserts) + len(delta.Sets) + len(delta.Deletes)))
	m.cacheSize.Set(float64(objects))
}

// delivered counts a batch that a session's reader has received: whether the reader waited for the change, and how long
// after its request.
func (m *sessionMetrics) delivered(waited bool, after time.Duration) {
	if waited {
		m.blocked.Inc()
		return
	}
	m.unblocked.Inc()
	m.nextLatency.Observe(after.Seconds())
}

func (m *sessionMetrics) set(c sessionCounts) {
	m.nodes.Set(float64(c.all))
	m.lagging.Set(float64(c.lagging))
	m.unread.Set(float64(c.unread))
	m.failing.Set(float64(c.failing))
	m.downgraded.Set(float64(c.downgraded))
}
