package fake

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// namespace identifies a network namespace by the file that stands for it.
type namespace struct{ device, inode uint64 }

func namespaceOf(fd int) (namespace, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return namespace{}, fmt.Errorf("network namespace: %w", err)
	}
	return namespace{uint64(stat.Dev), stat.Ino}, nil
}

// Pod returns the namespace of a pod. Any open file stands for one; the first use of a file makes its namespace.
func (k *Kernel) Pod(netns *os.File) (*Kernel, error) { return k.pod(int(netns.Fd())) }

func (k *Kernel) pod(fd int) (*Kernel, error) {
	ns, err := namespaceOf(fd)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pods[ns] == nil {
		k.pods[ns] = New()
	}
	return k.pods[ns], nil
}

// peerNamespace returns where the other end of a pair is to be made.
func (k *Kernel) peerNamespace(l netlink.Link) (*Kernel, error) {
	pair, ok := l.(*netlink.Veth)
	if !ok || pair.PeerNamespace == nil {
		return k, nil
	}
	fd, ok := pair.PeerNamespace.(netlink.NsFd)
	if !ok {
		return nil, unix.EINVAL
	}
	return k.pod(int(fd))
}

// Open implements veth.Host.
func (k *Kernel) Open() (veth.Kernel, error) { return k, nil }

// Within implements veth.Host.
func (k *Kernel) Within(netns *os.File, do func(veth.Kernel) error) error {
	pod, err := k.Pod(netns)
	if err != nil {
		return err
	}
	return do(pod)
}

// Close does nothing: there is no connection to close.
func (k *Kernel) Close() {}

// RouteList returns the routes of the main table, of one family or of all, that go over a device if link is not nil.
func (k *Kernel) RouteList(link netlink.Link, family int) ([]netlink.Route, error) {
	all, err := k.RouteListFiltered(family, &netlink.Route{}, 0)
	if err != nil || link == nil {
		return all, err
	}
	var list []netlink.Route
	for _, r := range all {
		if r.LinkIndex == link.Attrs().Index {
			list = append(list, r)
		}
	}
	return list, nil
}

// RouteGet returns the way to an address: a local route if a device that is up has it, or the most specific route of
// the main table. Without any the error is ENETUNREACH.
func (k *Kernel) RouteGet(ip net.IP) ([]netlink.Route, error) {
	defer k.mu.Unlock()
	if err := k.begin("RouteGet"); err != nil {
		return nil, err
	}
	a := addrOf(ip)
	if k.isLocal(a) {
		family := dataplane.FamilyOf(a).AF()
		return []netlink.Route{{Family: family, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, LinkIndex: 1}}, nil
	}
	var best *entry
	for _, r := range k.routes {
		if r.table == unix.RT_TABLE_MAIN && r.dst.Contains(a) && (best == nil || r.dst.Bits() > best.dst.Bits()) {
			best = r
		}
	}
	if best == nil {
		return nil, unix.ENETUNREACH
	}
	return []netlink.Route{best.message()}, nil
}
