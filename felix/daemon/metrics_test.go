package daemon

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/maneki-net/maneki/api/effects"
	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/test/dashboard"
	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/metric"
	"github.com/maneki-net/maneki/typha/transport"
	"github.com/maneki-net/maneki/typha/wire"
)

// exposed are the samples that Prometheus would scrape, by name and labels.
type exposed map[string]float64

func scrape(t *testing.T, registry *prometheus.Registry) exposed {
	t.Helper()
	all := exposed{}
	for line := range strings.Lines(exposition(registry)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && name != "#" {
			all[name] = v
		}
	}
	return all
}

// exposition is what Prometheus would read.
func exposition(registry *prometheus.Registry) string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// TestDataplaneMetrics: each figure of the kernel's state moves when its cause happens, by Calico's name, labels and
// values.
func TestDataplaneMetrics(t *testing.T) {
	kerneltest.Enter(t)
	neighbour(t)
	kerneltest.Run(t, "ip addr add 192.0.2.1/24 dev eth0")
	p := startAgent(t, nil, "InterfacePrefix", "tap")
	before := scrape(t, p.registry)
	moved := func(cause string, now exposed, names ...string) {
		t.Helper()
		for _, name := range names {
			v, there := now[name]
			if !there || v <= before[name] {
				t.Errorf("%s: %s is %v (there: %v), and was %v", cause, name, v, there, before[name])
			}
		}
		before = now
	}
	set := &wire.IPSet{Name: "s", Type: wire.SetNet, Nets: []netip.Prefix{netip.MustParsePrefix("10.65.0.9/32"),
		netip.MustParsePrefix("fd00::9/128")}}
	allow := &wire.Policy{Name: "allow", Tier: "default", Ingress: []wire.Rule{{Action: wire.Allow,
		Src: wire.Match{Sets: []string{"s"}}}}}
	addrs := []netip.Addr{netip.MustParseAddr("10.65.0.30")}
	vm := &wire.Endpoint{Namespace: "vms", Pod: "vm-1", Node: "n1", Interface: "tap1", Addrs: addrs,
		Tiers: []wire.Tier{{Name: "default", Ingress: []string{"allow"}, DefaultAction: wire.Deny}}}
	p.enforce(t, wire.Commit{Upserts: []wire.Object{&wire.Pool{Name: "p",
		CIDR: netip.MustParsePrefix("10.65.0.0/16")}}})
	first := []string{"felix_exec_time_micros_sum", "felix_exec_time_micros_count",
		"felix_route_table_list_seconds_count",
		"felix_route_table_resync_seconds_sum", "felix_iptables_save_calls", "felix_iptables_restore_calls",
		"felix_ipset_calls",
		"felix_ipset_lines_executed", "felix_ipsets_total"}
	for _, version := range []string{"4", "6"} {
		first = append(first, fmt.Sprintf(`felix_ipsets_calico{ip_version="%s"}`, version),
			fmt.Sprintf(`felix_route_table_num_ifaces{table="IPv%s:254"}`, version))
		for _, table := range []string{"raw", "filter", "nat"} { // mangle has nothing yet
			for _, name := range []string{"chains", "rules", "lines_executed"} {
				first = append(first, fmt.Sprintf(`felix_iptables_%s{ip_version="%s",table="%s"}`, name, version,
					table))
			}
		}
	}
	moved("the first commit", scrape(t, p.registry), first...)
	for _, name := range []string{"felix_iptables_save_errors", "felix_iptables_restore_errors", "felix_ipset_errors"} {
		if v, there := before[name]; !there || v != 0 {
			t.Errorf("%s is %v, there: %v", name, v, there)
		}
	}

	kerneltest.Run(t, "ip link add tap1 type bridge")
	kerneltest.Run(t, "ip link set tap1 up")
	p.enforce(t, wire.Commit{Upserts: []wire.Object{set, allow, vm}})
	eventually(t, func() error {
		if now := scrape(t, p.registry); now[`felix_route_table_num_routes{table="IPv4:254"}`] <= before[`felix_route_table_num_routes{table="IPv4:254"}`] {
			return fmt.Errorf("no route more: %v", now[`felix_route_table_num_routes{table="IPv4:254"}`])
		}
		return nil
	})
	moved("a workload", scrape(t, p.registry), `felix_iptables_chains{ip_version="4",table="filter"}`,
		`felix_iptables_rules{ip_version="6",table="filter"}`, `felix_ipsets_calico{ip_version="4"}`,
		`felix_ipsets_calico{ip_version="6"}`,
		"felix_ipset_lines_executed", "felix_iptables_restore_calls", `felix_route_table_num_routes{table="IPv4:254"}`)

	p.enforce(t, wire.Commit{Deletes: []wire.ID{vm.ID(), allow.ID(), set.ID()}})
	moved("its end", scrape(t, p.registry), "felix_route_table_conntrack_wait_seconds_count", "felix_ipset_calls")

	kerneltest.Run(t, "ipset create strange hash:ip")
	total := before["felix_ipsets_total"]
	eventually(t, func() error {
		if now := scrape(t, p.registry)["felix_ipsets_total"]; now != total+1 {
			return fmt.Errorf("%v sets in all, want one more than %v", now, total)
		}
		return nil
	})
}

var described = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)"`)

// TestMetricsAreDocumented holds the page to the metrics that are registered.
func TestMetricsAreDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	felix.NewMetrics(registry)
	newSyncMetrics(registry)
	registerHost(registry, "n1")
	registry.MustRegister(linux.NewMetrics(), auth.NewExpiry("felix", auth.TLS{}),
		clusterMetrics(func() (wire.Cluster, bool) { return wire.Cluster{}, true }))
	metric.CountLog(slog.New(slog.DiscardHandler), registry, "felix")
	all := make(chan *prometheus.Desc)
	go func() { registry.Describe(all); close(all) }()
	var rows []string
	for d := range all {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("what is the name in %s?", d)
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", m[1], m[2]))
	}
	slices.Sort(rows)
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n## Felix\n")
	_, rest, _ = strings.Cut(rest, "\n| metric | meaning |\n|---|---|\n")
	rest, _, _ = strings.Cut(rest, "\n\n")
	if diff := cmp.Diff(strings.Join(rows, ""), strings.TrimSuffix(rest, "\n")+"\n"); diff != "" {
		t.Errorf("docs/metrics.md (-registered +page):\n%s", diff)
	}
}

// TestClusterMetrics: before Typha has said how many there are, there is no number.
func TestClusterMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	cluster, known := wire.Cluster{Policies: 1, Tiers: 2, Profiles: 3, HostEndpoints: 4, WorkloadEndpoints: 5}, false
	registry.MustRegister(clusterMetrics(func() (wire.Cluster, bool) { return cluster, known }))
	if got := scrape(t, registry); len(got) > 0 {
		t.Errorf("nothing is known, and there is %v", got)
	}
	known = true
	want := exposed{"felix_cluster_num_policies": 1, "felix_cluster_num_tiers": 2, "felix_cluster_num_profiles": 3,
		"felix_cluster_num_host_endpoints": 4, "felix_cluster_num_workload_endpoints": 5}
	if diff := cmp.Diff(want, scrape(t, registry)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDashboards: Calico's dashboards for Felix find what they ask for, except what the table of effects names, and
// what Typha has.
func TestDashboards(t *testing.T) {
	kerneltest.Enter(t)
	p := startAgent(t, nil)
	newSyncMetrics(p.registry).syncing(transport.Resyncing)
	p.registry.MustRegister(clusterMetrics(func() (wire.Cluster, bool) { return wire.Cluster{}, true }))
	metric.CountLog(slog.New(slog.DiscardHandler), p.registry, "felix")
	p.enforce(t, wire.Commit{})
	samples, err := dashboard.Parse(exposition(p.registry))
	if err != nil {
		t.Fatal(err)
	}
	filled := 0
	for _, q := range slices.Concat(dashboard.Queries(dashboard.Felix), dashboard.Queries(dashboard.FelixOld)) {
		name := dashboard.Metric(q.Series)
		if dashboard.OfTheProcess(name) || strings.HasPrefix(name, "felix_calc_graph_") {
			continue
		}
		row, _ := effects.Lookup(effects.Metric, "felix", name)
		if got := q.Answers(samples); (len(got) > 0) != (row.State == effects.Works) {
			t.Errorf("%s, %s: %d samples of %s %v; the row is %q", q.Dashboard, q.Panel, len(got), q.Series, q.Matchers,
				row.State)
		}
		filled += map[bool]int{true: 1}[row.State == effects.Works]
	}
	if filled < 30 {
		t.Errorf("only %d figures are there", filled)
	}
}
