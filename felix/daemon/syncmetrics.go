package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/transport"
	"github.com/maneki-net/maneki/typha/wire"
)

// syncMetrics are what is known of the source of commits, by Calico's names.
type syncMetrics struct {
	state   prometheus.Gauge
	started prometheus.Counter
}

func newSyncMetrics(registry prometheus.Registerer) *syncMetrics {
	m := &syncMetrics{
		state: prometheus.NewGauge(prometheus.GaugeOpts{Name: "felix_resync_state",
			Help: "1 without Typha, 2 while what has changed is awaited, 3 in sync."}),
		started: prometheus.NewCounter(prometheus.CounterOpts{Name: "felix_resyncs_started",
			Help: "Times that Felix began to get in sync: with each stream from Typha; without Typha, once."}),
	}
	registry.MustRegister(m.state, m.started)
	return m
}

// syncing takes in a change of the state.
func (m *syncMetrics) syncing(s transport.SyncState) {
	m.state.Set(float64(s))
	if s == transport.Resyncing {
		m.started.Inc()
	}
}

// localSource is a source in the process, which is read from the start until its first commit has everything.
type localSource struct {
	hub.Source
	metrics *syncMetrics
	known   bool
}

// Next implements hub.Source.
func (l *localSource) Next(ctx context.Context) (wire.Commit, error) {
	c, err := l.Source.Next(ctx)
	if err == nil && c.InSync && !l.known {
		l.known = true
		l.metrics.syncing(transport.InSync)
	}
	return c, err
}

// clusterMetrics export how many there are in the cluster, once that is known.
type clusterMetrics func() (wire.Cluster, bool)

var (
	clusterPolicies = prometheus.NewDesc("felix_cluster_num_policies", "Policies of the cluster, of all kinds.", nil,
		nil)
	clusterTiers    = prometheus.NewDesc("felix_cluster_num_tiers", "Tiers of the cluster.", nil, nil)
	clusterProfiles = prometheus.NewDesc("felix_cluster_num_profiles",
		"Profiles of the cluster; each namespace and each service account has one.", nil, nil)
	clusterHostEndpoints = prometheus.NewDesc("felix_cluster_num_host_endpoints",
		"Host endpoints of the cluster.", nil, nil)
	clusterWorkloads = prometheus.NewDesc("felix_cluster_num_workload_endpoints",
		"Pods and other workloads of the cluster that policies can select.", nil, nil)
)

// Describe implements prometheus.Collector.
func (clusterMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{clusterPolicies, clusterTiers, clusterProfiles,
		clusterHostEndpoints, clusterWorkloads} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (m clusterMetrics) Collect(out chan<- prometheus.Metric) {
	c, known := m()
	if !known {
		return
	}
	out <- gauge(clusterPolicies, c.Policies)
	out <- gauge(clusterTiers, c.Tiers)
	out <- gauge(clusterProfiles, c.Profiles)
	out <- gauge(clusterHostEndpoints, c.HostEndpoints)
	out <- gauge(clusterWorkloads, c.WorkloadEndpoints)
}

func gauge(desc *prometheus.Desc, v int) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v))
}

// registerHost registers the gauge that is 1 and has the node's name.
func registerHost(registry prometheus.Registerer, node string) {
	host := prometheus.NewGauge(prometheus.GaugeOpts{Name: "felix_host", Help: "1, with the name of the node.",
		ConstLabels: prometheus.Labels{"host": node}})
	host.Set(1)
	registry.MustRegister(host)
}
