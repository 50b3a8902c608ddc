package felix_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/typha/wire"
)

// figures reads all samples with a prefix; of summaries the number and the sum.
func figures(t *testing.T, registry *prometheus.Registry, prefix string) map[string]string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), prefix)
			if name == f.GetName() {
				continue
			}
			for _, l := range m.GetLabel() {
				name += fmt.Sprintf("{%s=%q}", l.GetName(), l.GetValue())
			}
			all[name] = fmt.Sprint(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			if s := m.GetSummary(); s != nil {
				all[name] = fmt.Sprint(s.GetSampleCount(), " ", s.GetSampleSum())
			}
		}
	}
	return all
}

// TestMetrics: what comes to the node, and what it has, is counted by Calico's names, labels and values.
func TestMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		profile := &wire.Policy{Name: wire.ProfilePrefix + "kns.shop"}
		host := &wire.HostEndpoint{Name: "eth0", Node: "n1", Interface: "eth0"}
		r.commit(pool, set, deny, profile, endpoint, host, &wire.Host{Name: "n1"}, &wire.Node{Name: "n1"},
			&wire.Host{Name: "n2"},
			&wire.Config{Name: "global"}, &wire.BGP{Node: "n1"}, &wire.Route{Dst: pool.CIDR, Node: "n2"},
			&wire.TunnelEndpoint{Node: "n2"})
		added := make(chan error, 1)
		go func() { added <- r.agent.Add(t.Context(), workload) }()
		r.later(t, time.Second)
		if err := <-added; err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"endpoints": "2", "policies": "1", "selectors": "1"},
			figures(t, r.registry, "felix_active_local_")); diff != "" {
			t.Errorf("active (-want +got):\n%s", diff)
		}
		want := map[string]string{}
		for _, name := range strings.Fields(`IPAMPoolUpdate IPSetUpdate ActivePolicyUpdate ActiveProfileUpdate
			WorkloadEndpointUpdate HostEndpointUpdate ConfigUpdate GlobalBGPConfigUpdate RouteUpdate
			VXLANTunnelEndpointUpdate InSync`) {
			want[fmt.Sprintf("messages{type=%q}", name)] = "1"
		}
		want[`messages{type="HostMetadataV4V6Update"}`] = "3"
		got := figures(t, r.registry, "felix_int_dataplane_")
		for name, n := range want {
			if got[name] != n {
				t.Errorf("%s is %q, want %s", name, got[name], n)
			}
		}
		if got["msg_batch_size"] != "1 13" {
			t.Errorf("batches: %s, want one of 13", got["msg_batch_size"])
		}
		synctest.Wait()
		r.source.commits <- wire.Commit{Number: 2, InSync: true, Deletes: []wire.ID{set.ID(), profile.ID()}}
		for range 3 {
			r.events <- dataplane.Event{Kind: dataplane.EventLink, Device: "eth7", Up: true}
		}
		r.events <- dataplane.Event{Kind: dataplane.EventAddr, Family: dataplane.IPv4}
		r.later(t, time.Second)
		got = figures(t, r.registry, "felix_int_dataplane_")
		for name, n := range map[string]string{`messages{type="IPSetRemove"}`: "1",
			`messages{type="ActiveProfileRemove"}`: "1",
			`messages{type="InSync"}`:              "1", "msg_batch_size": "2 15"} {
			if got[name] != n {
				t.Errorf("%s is %q, want %s", name, got[name], n)
			}
		}
		for name, sum := range map[string]string{"iface_msg_batch_size": " 3", "addr_msg_batch_size": " 1"} {
			if !strings.HasSuffix(got[name], sum) {
				t.Errorf("%s is %q, want a sum of%s", name, got[name], sum)
			}
		}
	})
}

// TestApplyTimes: the first time is a figure of its own, and every later one is in the summary.
func TestApplyTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		hold := make(chan struct{})
		r.hold = hold
		go func() { time.Sleep(2 * time.Second); close(hold) }()
		r.source.commits <- wire.Commit{Number: 1, Upserts: []wire.Object{pool}, InSync: true}
		synctest.Wait()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		got := figures(t, r.registry, "felix_int_dataplane_")
		if got["initial_resync_time_seconds"] != "2" || got["apply_time_seconds"] != "0 0" {
			t.Errorf("the first time: %v", got)
		}
		r.commit(deny)
		got = figures(t, r.registry, "felix_int_dataplane_")
		if got["initial_resync_time_seconds"] != "2" || !strings.HasPrefix(got["apply_time_seconds"], "1 ") {
			t.Errorf("the second time: %v", got)
		}
	})
}
