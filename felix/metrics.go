package felix

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what the agent counts, by Calico's names.
type Metrics struct {
	endpoints, policies, sets, hosts prometheus.Gauge
	routes, chains                   *prometheus.GaugeVec
	commits, failures                prometheus.Counter
	driverErrors                     *prometheus.CounterVec
	applyTime                        prometheus.Summary
	resyncTime                       prometheus.Gauge
	resyncState                      prometheus.Gauge
	journalStale                     prometheus.Gauge
	closedPeers                      prometheus.Gauge
	ipvs                             prometheus.Gauge
	started                          time.Time
}

// The values of felix_resync_state, Calico's.
const (
	resyncWaiting = 1
	resyncDone    = 3
)

// NewMetrics makes Metrics and registers them; started is when the process began.
func NewMetrics(registry prometheus.Registerer, started time.Time) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &Metrics{
		endpoints: gauge("felix_active_local_endpoints", "Pods on this node that Felix programs."),
		policies:  gauge("felix_active_local_policies", "Policies that select a pod on this node."),
		sets:      gauge("felix_ipsets_calico", "IP sets that policies of this node name."),
		hosts:     gauge("felix_cluster_num_hosts", "Nodes of the cluster that have an address."),
		routes: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "felix_route_table_num_routes",
			Help: "Routes that Felix programs."}, []string{"ip_version"}),
		chains: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "felix_iptables_chains",
			Help: "Chains of iptables that Felix programs."}, []string{"ip_version", "table"}),
		commits:  counter("felix_int_dataplane_messages", "Commits of the stream that were taken in."),
		failures: counter("felix_int_dataplane_failures", "Times that a part of the kernel's state could not be made as desired."),
		driverErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "felix_int_dataplane_driver_failures",
			Help: "felix_int_dataplane_failures by part: link, sysctl, ipset, iptables, route."}, []string{"driver"}),
		applyTime: prometheus.NewSummary(prometheus.SummaryOpts{Name: "felix_int_dataplane_apply_time_seconds",
			Help: "Time to make the kernel as desired.", Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001}}),
		resyncTime:   gauge("felix_int_dataplane_initial_resync_time_seconds", "Time from the start until the kernel was programmed."),
		resyncState:  gauge("felix_resync_state", "1 until the stream is in sync, then 3."),
		journalStale: gauge("felix_journal_stale", "1 while the journal on disk is not what the stream delivered."),
		closedPeers:  gauge("felix_bgp_closed_peers", "BGP peers whose session is kept closed because they announced or asked for too much."),
		ipvs:         gauge("felix_kube_proxy_ipvs", "1 if kube-proxy of the node is in IPVS mode, otherwise 0."),
		started:      started,
	}
	m.resyncState.Set(resyncWaiting)
	registry.MustRegister(m.endpoints, m.policies, m.sets, m.hosts, m.routes, m.chains, m.commits, m.failures, m.driverErrors,
		m.applyTime, m.resyncTime, m.resyncState, m.journalStale, m.closedPeers, m.ipvs)
	return m
}

// ready records the end of the start.
func (m *Metrics) ready() {
	m.resyncState.Set(resyncDone)
	m.resyncTime.Set(time.Since(m.started).Seconds())
}
