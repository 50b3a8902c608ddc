package felix_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/felix"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/typha/wire"
)

// instant is a dataplane that has done everything at once. It counts the endpoints and routes that it is handed.
type instant struct{ endpoints, routes int }

func (d *instant) Families() []dataplane.Family { return []dataplane.Family{dataplane.IPv4} }
func (d *instant) Apply(_ context.Context, changes boundary.Desired) boundary.Result {
	d.endpoints += len(changes.Endpoints.Upserts) + len(changes.Endpoints.Deletes)
	d.routes += len(changes.Routes.Upserts) + len(changes.Routes.Deletes)
	return boundary.Result{Enforced: map[dataplane.Family]bool{dataplane.IPv4: true}}
}
func (d *instant) Observe(dataplane.Event) bool        { return false }
func (d *instant) Check(context.Context) (bool, error) { return false, nil }
func (d *instant) Resync(boundary.Part)                {}
func (d *instant) InPlace(string) bool                 { return true }
func (d *instant) RouteInPlace(route.Key) bool         { return true }
func (d *instant) SourcesDropped() string              { return "" }

// reporting is a source that passes reports on.
type reporting struct {
	source
	reports chan wire.Report
}

func (s *reporting) Report(r wire.Report) { s.reports <- r }

// BenchmarkChange is what the agent takes, without the dataplane, for one change on a node with that many endpoints: of
// an endpoint's policies, and of a pod that comes and goes. It fails if a change hands over more than the endpoint.
func BenchmarkChange(b *testing.B) {
	for _, pods := range []int{10, 1000, 5000} {
		kernel := &instant{}
		s := &reporting{source: source{commits: make(chan wire.Commit)}, reports: make(chan wire.Report, 16)}
		agent := felix.NewAgent(felix.Options{Node: "n1", Source: s, Whole: true, Dataplane: kernel,
			Journal:    journal.Open(filepath.Join(b.TempDir(), "stream")),
			Speaker:    &speaker{changes: make(chan struct{})},
			Interfaces: ifaces{newFake()}, Facts: nothing{}, Config: resolved(b), FirstFacts: node.Facts{Name: "n1",
				IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "eth0"}},
			Underlay: map[dataplane.Family]felix.Underlay{dataplane.IPv4: underlay{}},
			Metrics:  felix.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)})
		objects, workloads := []wire.Object{pool, deny}, []cniserver.Workload(nil)
		for i := range pods {
			name := fmt.Sprint("pod", i)
			e := *endpoint
			e.Pod = name
			objects = append(objects, &e)
			workloads = append(workloads, cniserver.Workload{Namespace: "shop", Pod: name, UID: "1", ContainerID: "c",
				HostIface: "cali" + name, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 65, byte(i >> 8), byte(i)})}})
		}
		agent.Restore(workloads)
		ctx, cancel := context.WithCancel(b.Context())
		go agent.Run(ctx) //nolint:errcheck // the benchmark ends it
		s.commits <- wire.Commit{Number: 1, Upserts: objects, InSync: true}
		<-s.reports
		for name, change := range map[string]func(int){
			"endpoint": func(i int) {
				e := *endpoint
				e.Pod, e.Profiles = "pod1", []string{fmt.Sprint("profile", i%2)}
				s.commits <- wire.Commit{Number: uint64(i), Upserts: []wire.Object{&e}, InSync: true}
				<-s.reports
			},
			"pod": func(int) {
				agent.Remove(workloads[1])
				<-s.reports
				if err := agent.Add(b.Context(), workloads[1]); err != nil {
					b.Fatal(err)
				}
				<-s.reports
			},
		} {
			b.Run(fmt.Sprintf("%s/endpoints=%d", name, pods), func(b *testing.B) {
				kernel.endpoints, kernel.routes = 0, 0
				for i := 0; b.Loop(); i++ {
					change(i)
				}
				if kernel.endpoints > 2*b.N || kernel.routes > 2*b.N {
					b.Errorf("%d changes: %d endpoints and %d routes were handed over", b.N, kernel.endpoints,
						kernel.routes)
				}
			})
		}
		cancel()
	}
}

func resolved(b *testing.B) *config.Config {
	b.Helper()
	c, err := config.Resolve()
	if err != nil {
		b.Fatal(err)
	}
	return c
}
