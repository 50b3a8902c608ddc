package transport

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/metric"
)

// Metrics are the figures of a Server, by the names that Calico's dashboards use.
type Metrics struct {
	accepted, dropped, turnedAway, returned, reused       prometheus.Counter
	active, streaming, rawSize, compressedSize, observers prometheus.Gauge
	perMessage, snapshotSend, writeLatency, pingLatency   *metric.Sampled
}

// NewMetrics makes the metrics and registers them; with a nil registry they are only counted.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	all := metric.NewSet(registry)
	stream := all.With(metric.OfFelix())
	return &Metrics{
		accepted: all.Counter("typha_connections_accepted", "Streams that nodes opened and were given."),
		dropped: all.Counter("typha_connections_dropped",
			"Streams that were refused or ended by Typha or with an error."),
		turnedAway: all.Counter("typha_connections_turned_away",
			"Connections that were closed before anybody proved who he is: too many, or too slow."),
		returned: all.Counter("typha_connections_returned",
			"Nodes that came back within 5 minutes after they were handed over."),
		reused: stream.Counter("typha_snapshots_reused",
			"Compressed parts of snapshots that were sent again, to another node."),
		active:    all.Gauge("typha_connections_active", "Streams that are open."),
		streaming: stream.Gauge("typha_connections_streaming", "Streams that have been given their snapshot."),
		rawSize:   stream.Gauge("typha_snapshot_raw_bytes", "Octets of the last snapshot before compression."),
		compressedSize: stream.Gauge("typha_snapshot_compressed_bytes",
			"Octets of the last snapshot as it was sent."),
		observers:    all.Gauge("typha_observers", "Programs that follow what the nodes report."),
		perMessage:   stream.Sampled("typha_kvs_per_msg", "Objects and deletions in a message to a node."),
		snapshotSend: stream.Sampled("typha_client_snapshot_send_secs", "Seconds that sending a snapshot took."),
		writeLatency: stream.Sampled("typha_client_write_latency_secs",
			"Seconds that handing a message to the transport took; it grows when a node reads slowly."),
		pingLatency: stream.Sampled("typha_ping_latency",
			"Seconds until a node answered a ping, which waits its turn in the stream."),
	}
}
