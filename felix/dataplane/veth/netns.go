package veth

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
)

// Kernel is what the package needs of one network namespace: rtnetlink and settings.
type Kernel interface {
	LinkAdd(netlink.Link) error
	LinkDel(netlink.Link) error
	LinkByName(name string) (netlink.Link, error)
	LinkByIndex(index int) (netlink.Link, error)
	LinkSetUp(netlink.Link) error
	LinkSetIP6AddrGenMode(link netlink.Link, mode int) error
	AddrAdd(netlink.Link, *netlink.Addr) error
	AddrList(netlink.Link, int) ([]netlink.Addr, error)
	NeighSet(*netlink.Neigh) error
	RouteAdd(*netlink.Route) error
	RouteList(link netlink.Link, family int) ([]netlink.Route, error)
	RouteGet(net.IP) ([]netlink.Route, error)
	ReadSetting(key string) (string, error)
	WriteSetting(key, value string) error
	Close()
}

// Host opens the network namespaces of the node and of its pods.
type Host interface {
	// Open connects to the node's namespace. The caller closes the Kernel.
	Open() (Kernel, error)
	// Within calls do with the namespace of a pod.
	Within(netns *os.File, do func(Kernel) error) error
}

// Pairs makes, checks and removes pairs on a Host.
type Pairs struct{ host Host }

// New returns the Pairs of a Host.
func New(host Host) Pairs { return Pairs{host} }

// Open returns the Pairs of the real kernel. The node's namespace is that of the thread that calls their methods.
func Open() Pairs { return New(system{}) }

// system is the real Host.
type system struct{}

// connection is the real Kernel.
type connection struct {
	*netlink.Handle
	sysctl.Dir
}

func (system) Open() (Kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return connection{h, sysctl.Dir(sysctl.Writable())}, nil
}

func (s system) Within(netns *os.File, do func(Kernel) error) error {
	return inNetns(netns, func() error {
		k, err := s.Open()
		if err != nil {
			return fmt.Errorf("in the pod: %w", err)
		}
		defer k.Close()
		return do(k)
	})
}

// inNetns runs do on a thread that is in the network namespace for that time.
func inNetns(ns *os.File, do func() error) error {
	result := make(chan error, 1)
	go func() {
		// The thread is unlocked only once it is back; otherwise it ends with this goroutine.
		runtime.LockOSThread()
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			result <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter the pod's network namespace: %w", err)
			return
		}
		err = do()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}
