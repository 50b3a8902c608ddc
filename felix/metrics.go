package felix

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/typha/metric"
	"github.com/maneki-net/maneki/typha/wire"
)

// Metrics are what the agent counts, by Calico's names. What the drivers count is not among them.
type Metrics struct {
	endpoints, policies, selectors, hosts prometheus.Gauge
	messages                              messageMetrics
	applyTime                             prometheus.Summary
	resyncTime                            prometheus.Gauge
	applied                               bool // once
	journalStale                          prometheus.Gauge
	closedPeers                           prometheus.Gauge
	ipvs                                  prometheus.Gauge
}

// NewMetrics makes Metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &Metrics{
		endpoints: gauge("felix_active_local_endpoints", "Workloads and host endpoints of this node."),
		policies:  gauge("felix_active_local_policies", "Policies that select an endpoint of this node."),
		selectors: gauge("felix_active_local_selectors",
			"Selectors, of endpoints, ports or services, in the rules of these policies; each has an IP set."),
		hosts:    gauge("felix_cluster_num_hosts", "Nodes of the cluster that have an address."),
		messages: newMessageMetrics(),
		applyTime: metric.NewSummary("felix_int_dataplane_apply_time_seconds",
			"Time to make the kernel as desired, after the first time.", nil),
		resyncTime: gauge("felix_int_dataplane_initial_resync_time_seconds",
			"Time to make the kernel as desired the first time."),
		journalStale: gauge("felix_journal_stale", "1 while the journal on disk is not what the stream delivered."),
		closedPeers: gauge("felix_bgp_closed_peers",
			"BGP peers whose session is kept closed because they announced or asked for too much."),
		ipvs: gauge("felix_kube_proxy_ipvs", "1 if kube-proxy of the node is in IPVS mode, otherwise 0."),
	}
	registry.MustRegister(m.endpoints, m.policies, m.selectors, m.hosts,
		m.applyTime, m.resyncTime, m.journalStale, m.closedPeers, m.ipvs)
	m.messages.register(registry)
	return m
}

// apply records how long it took to make the kernel as desired.
func (m *Metrics) apply(took time.Duration) {
	if !m.applied {
		m.applied = true
		m.resyncTime.Set(took.Seconds())
		return
	}
	m.applyTime.Observe(took.Seconds())
}

// messageMetrics count what reaches the agent's loop. The loop owns them.
type messageMetrics struct {
	byType                   *prometheus.CounterVec
	batch, links, addrs      prometheus.Summary
	linkEvents, addrsChanged int // since the last sync
}

func newMessageMetrics() messageMetrics {
	return messageMetrics{
		byType: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "felix_int_dataplane_messages",
			Help: "Objects, changes and deletions of the stream that were taken in, by Calico's type of message."},
			[]string{"type"}),
		batch: metric.NewSummary("felix_int_dataplane_msg_batch_size",
			"Messages of the stream that came as one change.", nil),
		links: metric.NewSummary("felix_int_dataplane_iface_msg_batch_size",
			"Changes of interfaces that were taken in at a time.", nil),
		addrs: metric.NewSummary("felix_int_dataplane_addr_msg_batch_size",
			"Changes of interfaces' addresses that were taken in at a time.", nil),
	}
}

func (m *messageMetrics) register(registry prometheus.Registerer) {
	registry.MustRegister(m.byType, m.batch, m.links, m.addrs)
}

// messageTypes are the types of Calico's messages of the kinds, without their endings.
var messageTypes = map[wire.Kind]string{
	wire.KindPool: "IPAMPool", wire.KindHost: "HostMetadataV4V6", wire.KindNode: "HostMetadataV4V6",
	wire.KindTunnelEndpoint: "VXLANTunnelEndpoint", wire.KindRoute: "Route", wire.KindIPSet: "IPSet",
	wire.KindEndpoint: "WorkloadEndpoint", wire.KindHostEndpoint: "HostEndpoint",
}

// messageType is what Calico calls a message about an object: an update, or its removal.
func messageType(id wire.ID, ending string) string {
	switch {
	case id.Kind == wire.KindConfig:
		return "ConfigUpdate"
	case id.Kind == wire.KindBGP:
		return "GlobalBGPConfigUpdate"
	case id.Kind == wire.KindPolicy && strings.HasPrefix(id.Name, wire.ProfilePrefix):
		return "ActiveProfile" + ending
	case id.Kind == wire.KindPolicy:
		return "ActivePolicy" + ending
	}
	return messageTypes[id.Kind] + ending
}

// commit counts what came as one change.
func (m *messageMetrics) commit(c wire.Commit) {
	for _, object := range c.Upserts {
		m.byType.WithLabelValues(messageType(object.ID(), "Update")).Inc()
	}
	for _, id := range c.Deletes {
		m.byType.WithLabelValues(messageType(id, "Remove")).Inc()
	}
	if n := len(c.Sets); n > 0 {
		m.byType.WithLabelValues("IPSetDeltaUpdate").Add(float64(n))
	}
	m.batch.Observe(float64(len(c.Upserts) + len(c.Deletes) + len(c.Sets)))
}

// inSync counts that the source has delivered everything.
func (m *messageMetrics) inSync() { m.byType.WithLabelValues("InSync").Inc() }

// event counts a notification of the kernel.
func (m *messageMetrics) event(kind dataplane.EventKind) {
	switch kind {
	case dataplane.EventLink:
		m.linkEvents++
	case dataplane.EventAddr:
		m.addrsChanged++
	}
}

// taken notes that what was counted since the last call was taken in at a time.
func (m *messageMetrics) taken() {
	if m.linkEvents > 0 {
		m.links.Observe(float64(m.linkEvents))
	}
	if m.addrsChanged > 0 {
		m.addrs.Observe(float64(m.addrsChanged))
	}
	m.linkEvents, m.addrsChanged = 0, 0
}

// local counts what the node has.
func (m *Metrics) local(s *state, workloads int) {
	m.endpoints.Set(float64(workloads + len(s.hostEndpoints)))
	m.policies.Set(float64(len(s.policies) - s.profiles))
	m.selectors.Set(float64(len(s.sets)))
	m.hosts.Set(float64(len(s.hosts)))
}
