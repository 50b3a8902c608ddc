package drivertest

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/fake"
	"github.com/maneki-net/maneki/felix/dataplane/monitor"
	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
)

// Kernel is what a transcript runs on: the real kernel's namespace of the calling thread, or a fake.Kernel.
type Kernel interface {
	LinkAdd(netlink.Link) error
	LinkDel(netlink.Link) error
	LinkSetUp(netlink.Link) error
	LinkSetDown(netlink.Link) error
	LinkSetMTU(netlink.Link, int) error
	LinkSetHardwareAddr(netlink.Link, net.HardwareAddr) error
	LinkList() ([]netlink.Link, error)
	LinkByName(name string) (netlink.Link, error)
	AddrAdd(netlink.Link, *netlink.Addr) error
	AddrReplace(netlink.Link, *netlink.Addr) error
	AddrDel(netlink.Link, *netlink.Addr) error
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
	RouteAdd(*netlink.Route) error
	RouteReplace(*netlink.Route) error
	RouteDel(*netlink.Route) error
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	NeighList(index, family int) ([]netlink.Neigh, error)
	NeighSet(*netlink.Neigh) error
	NeighDel(*netlink.Neigh) error
	ReadSetting(key string) (string, error)
	WriteSetting(key, value string) error
	ConntrackCreate(netlink.ConntrackTableType, netlink.InetFamily, *netlink.ConntrackFlow) error
	ConntrackTableList(netlink.ConntrackTableType, netlink.InetFamily) ([]*netlink.ConntrackFlow, error)
	ConntrackDeleteFilters(netlink.ConntrackTableType, netlink.InetFamily,
		...netlink.CustomConntrackFilter) (uint, error)
	// flush returns the events of what has happened since the last call.
	flush(testing.TB) []dataplane.Event
}

// fakeKernel is fake.Kernel as a Kernel.
type fakeKernel struct{ *fake.Kernel }

func openFake() Kernel { return fakeKernel{fake.New()} }

func (f fakeKernel) flush(testing.TB) []dataplane.Event { return f.Events() }

// realKernel is the kernel of the calling thread's network namespace.
type realKernel struct {
	*netlink.Handle
	sysctl.Dir
	monitor *monitor.Monitor
	markers int
}

func openReal(t testing.TB) Kernel {
	t.Helper()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	m, err := monitor.Open()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- m.Run(t.Context()) }()
	t.Cleanup(func() { // the test's context has ended
		for range m.Events() {
		}
		if err := <-done; err != nil {
			t.Errorf("monitor: %v", err)
		}
	})
	return &realKernel{Handle: h, Dir: sysctl.Root, monitor: m}
}

// markerTable has the routes that nobody but flush makes.
const markerTable = 9999

// flush makes a route of its own, and collects the events up to that one: the kernel sends them in order.
func (r *realKernel) flush(t testing.TB) []dataplane.Event {
	t.Helper()
	r.markers++
	marker := &netlink.Route{Table: markerTable, Type: unix.RTN_BLACKHOLE, Dst: &loopbackNet, Priority: r.markers}
	if err := r.RouteAdd(marker); err != nil {
		t.Fatalf("add a marker: %v", err)
	}
	deadline := time.After(10 * time.Second)
	var list []dataplane.Event
	for {
		select {
		case e, open := <-r.monitor.Events():
			if !open {
				t.Fatal("the monitor has ended")
			}
			if e.Table != markerTable {
				list = append(list, e)
			} else if e.Priority == r.markers {
				return list
			}
		case <-deadline:
			t.Fatalf("no event of the marker after %+v", list)
		}
	}
}
