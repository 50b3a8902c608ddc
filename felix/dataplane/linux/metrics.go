package linux

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/typha/metric"
)

// Metrics exports what the drivers count, by Calico's names. The drivers know nothing of Prometheus.
type Metrics struct {
	filters []countedFilter
	routes  []countedRoutes
	// What takes time, in seconds but exec, which is in microseconds.
	exec, listed, read, forgot prometheus.Summary
	// Times that a driver could not do what it was to.
	failures prometheus.Counter
	byDriver *prometheus.CounterVec
}

type countedFilter struct {
	family dataplane.Family
	*iptables.Backend
}

type countedRoutes struct {
	table string
	*route.Counts
}

// NewMetrics returns Metrics of no drivers yet.
func NewMetrics() *Metrics {
	summary := func(name, help string) prometheus.Summary { return metric.NewSummary(name, help, nil) }
	return &Metrics{
		exec: summary("felix_exec_time_micros",
			"Microseconds that starting a program took: iptables-save or iptables-restore."),
		listed: summary("felix_route_table_list_seconds", "Time to list the interfaces when routes are read back."),
		read:   summary("felix_route_table_resync_seconds", "Time to read interfaces and routes back."),
		forgot: summary("felix_route_table_conntrack_wait_seconds",
			"Time to delete the connections of addresses that moved or went."),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "felix_int_dataplane_failures",
			Help: "Times that a part of the kernel's state could not be made as desired."}),
		byDriver: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "felix_int_dataplane_driver_failures",
			Help: "felix_int_dataplane_failures by part: link, sysctl, ipset, iptables, route, conntrack."},
			[]string{"driver"}),
	}
}

func (m *Metrics) addFilter(f dataplane.Family, b *iptables.Backend) {
	m.filters = append(m.filters, countedFilter{f, b})
}

func (m *Metrics) addRoutes(f dataplane.Family, t *route.Table) *route.Table {
	m.routes = append(m.routes, countedRoutes{fmt.Sprintf("%s:%d", f, t.Number()), t.Counts()})
	return t
}

// seconds returns what observes a time in a summary.
func seconds(s prometheus.Summary) func(time.Duration) {
	return func(took time.Duration) { s.Observe(took.Seconds()) }
}

func (m *Metrics) execTook(took time.Duration) {
	m.exec.Observe(float64(took.Nanoseconds()) / 1000)
}

// failed counts a failure of a driver.
func (m *Metrics) failed(driver string) {
	m.failures.Inc()
	m.byDriver.WithLabelValues(driver).Inc()
}

var (
	byTable     = []string{"ip_version", "table"}
	tableChains = prometheus.NewDesc("felix_iptables_chains", "Chains of iptables that are Felix's.", byTable, nil)
	tableRules  = prometheus.NewDesc("felix_iptables_rules", "Rules of iptables that are Felix's.", byTable, nil)
	tableLines  = prometheus.NewDesc("felix_iptables_lines_executed",
		"Changes of chains and rules that Felix has made.", byTable, nil)
	saves      = prometheus.NewDesc("felix_iptables_save_calls", "Times that iptables-save was called.", nil, nil)
	saveErrors = prometheus.NewDesc("felix_iptables_save_errors", "Times that iptables-save failed.", nil, nil)
	restores   = prometheus.NewDesc("felix_iptables_restore_calls", "Times that iptables-restore was called.", nil,
		nil)
	restoreFails = prometheus.NewDesc("felix_iptables_restore_errors", "Times that iptables-restore failed.", nil, nil)
	setsOurs     = prometheus.NewDesc("felix_ipsets_calico", "IP sets that are Felix's.", []string{"ip_version"}, nil)
	setsAll      = prometheus.NewDesc("felix_ipsets_total", "IP sets of the node, whoever made them.", nil, nil)
	setCalls     = prometheus.NewDesc("felix_ipset_calls", "Requests about IP sets to the kernel.", nil, nil)
	setErrors    = prometheus.NewDesc("felix_ipset_errors", "Requests about IP sets that the kernel refused.", nil, nil)
	setLines     = prometheus.NewDesc("felix_ipset_lines_executed",
		"IP sets that were made, exchanged and removed, and members added and removed.", nil, nil)
	routes = prometheus.NewDesc("felix_route_table_num_routes", "Routes that Felix programs.", []string{"table"},
		nil)
	routeIfaces = prometheus.NewDesc("felix_route_table_num_ifaces",
		"Interfaces that Felix knows for its routes.", []string{"table"}, nil)
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, own := range m.own() {
		own.Describe(descs)
	}
	for _, d := range []*prometheus.Desc{tableChains, tableRules, tableLines, saves, saveErrors, restores, restoreFails,
		setsOurs, setsAll, setCalls, setErrors, setLines, routes, routeIfaces} {
		descs <- d
	}
}

// own returns what the drivers do not count themselves.
func (m *Metrics) own() []prometheus.Collector {
	return []prometheus.Collector{m.exec, m.listed, m.read, m.forgot, m.failures, m.byDriver}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, own := range m.own() {
		own.Collect(out)
	}
	m.collectTables(out)
	m.collectSets(out)
	for _, r := range m.routes {
		out <- gauge(routes, r.Routes.Load(), r.table)
		out <- gauge(routeIfaces, r.Interfaces.Load(), r.table)
	}
}

func (m *Metrics) collectTables(out chan<- prometheus.Metric) {
	var saved, notSaved, restored, notRestored uint64
	for _, f := range m.filters {
		version := ipVersion(f.family)
		for _, name := range filter.Tables() {
			t := f.TableCounts(name)
			out <- gauge(tableChains, t.Chains.Load(), version, string(name))
			out <- gauge(tableRules, t.Rules.Load(), version, string(name))
			out <- counter(tableLines, t.Lines.Load(), version, string(name))
		}
		c := f.Counts()
		saved, notSaved = saved+c.Saves.Load(), notSaved+c.SaveErrors.Load()
		restored, notRestored = restored+c.Restores.Load(), notRestored+c.RestoreErrors.Load()
	}
	out <- counter(saves, saved)
	out <- counter(saveErrors, notSaved)
	out <- counter(restores, restored)
	out <- counter(restoreFails, notRestored)
}

func (m *Metrics) collectSets(out chan<- prometheus.Metric) {
	var calls, failed, lines uint64
	var all int64 // each family sees all of them
	for _, f := range m.filters {
		s := f.SetCounts()
		out <- gauge(setsOurs, s.Sets.Load(), ipVersion(f.family))
		calls, failed, lines = calls+s.Calls.Load(), failed+s.Errors.Load(), lines+s.Lines.Load()
		all = max(all, s.All.Load())
	}
	out <- gauge(setsAll, all)
	out <- counter(setCalls, calls)
	out <- counter(setErrors, failed)
	out <- counter(setLines, lines)
}

func gauge(desc *prometheus.Desc, v int64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), labels...)
}

func counter(desc *prometheus.Desc, v uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
}

// ipVersion is the value of Calico's label ip_version.
func ipVersion(f dataplane.Family) string { return strconv.Itoa(int(f)) }
