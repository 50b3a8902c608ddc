package route_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/route"
)

// TestCounts: routes and interfaces are counted, and each reading of the kernel is timed once.
func TestCounts(t *testing.T) {
	f := families[0]
	f.setUp(t)
	listed, read := 0, 0
	table := route.New(open(t), route.Config{Family: dataplane.IPv4, Protocols: []int{route.ProtocolFelix},
		Listed: func(time.Duration) { listed++ }, Read: func(time.Duration) { read++ }})
	check := func(after string, routes, times int) {
		t.Helper()
		if err := table.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := table.Counts().Routes.Load(); got != int64(routes) {
			t.Errorf("%s: %d routes, want %d", after, got, routes)
		}
		if listed != times || read != times {
			t.Errorf("%s: %d lists and %d readings, want %d of each", after, listed, read, times)
		}
	}
	table.Set(route.Route{Dst: netip.MustParsePrefix(f.pod), Protocol: route.ProtocolFelix,
		Hops: []route.Hop{{Device: "cali1"}}})
	check("the first time", 1, 1)
	check("nothing to do", 1, 1)
	before := table.Counts().Interfaces.Load()
	if before < 4 {
		t.Errorf("%d interfaces, the test made 4", before)
	}
	kerneltest.Run(t, "ip link add more type bridge")
	table.Resync()
	check("a resync", 1, 2)
	if now := table.Counts().Interfaces.Load(); now != before+1 {
		t.Errorf("%d interfaces, %d before another came", now, before)
	}
	table.Replace(nil)
	check("none", 0, 2)
}
