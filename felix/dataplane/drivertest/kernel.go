package drivertest

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/fake"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/monitor"
	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
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
	// pairs returns what connects pods to the kernel's namespace.
	pairs() veth.Pairs
	// newPod returns another namespace, and the file that stands for it. The namespace has no settings and no events.
	newPod(testing.TB) (*os.File, Kernel)
}

// Pairs returns what connects pods to the kernel's namespace.
func Pairs(k Kernel) veth.Pairs { return k.pairs() }

// NewPod returns another namespace, and the file that stands for it.
func NewPod(t testing.TB, k Kernel) (*os.File, Kernel) {
	t.Helper()
	return k.newPod(t)
}

// Command carries out a command that every driver's transcripts have, in a namespace other than the driver's.
func Command(k Kernel, words []string) (text string, err error) {
	text, known, err := newHost(k).command(words)
	if !known {
		return "", fmt.Errorf("no such command: %q", words)
	}
	return text, err
}

// fakeKernel is fake.Kernel as a Kernel.
type fakeKernel struct{ *fake.Kernel }

func openFake() Kernel { return fakeKernel{fake.New()} }

func (f fakeKernel) flush(testing.TB) []dataplane.Event { return f.Events() }

func (f fakeKernel) pairs() veth.Pairs { return veth.New(f.Kernel) }

func (f fakeKernel) newPod(t testing.TB) (*os.File, Kernel) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "netns")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	pod, err := f.Pod(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, fakeKernel{pod}
}

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

func (r *realKernel) pairs() veth.Pairs { return veth.Open() }

func (r *realKernel) newPod(t testing.TB) (*os.File, Kernel) {
	t.Helper()
	file := kerneltest.New(t)
	h, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return file, &realKernel{Handle: h}
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
