package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace that links are made in.
type space struct {
	*netlink.Handle
	ns   netns.NsHandle // closed with the space
	name string
}

// openSpace makes the namespace unless it exists, and sets its sysctls.
func openSpace(r record, part string) (*space, error) {
	name := r.netnsName(part)
	ns, err := netns.GetFromName(name)
	if errors.Is(err, fs.ErrNotExist) {
		ns, err = newNetNS(name)
	}
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open netlink in %s: %w", name, err)
	}
	s := &space{Handle: h, ns: ns, name: name}
	for _, c := range sysctls {
		if err := s.sysctl(c.path, c.value); err != nil {
			s.close()
			return nil, err
		}
	}
	lo, err := s.LinkByName("lo")
	if err == nil {
		err = s.LinkSetUp(lo)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("bring up lo of %s: %w", name, err)
	}
	return s, nil
}

// openMachine opens the namespace that this process runs in.
func openMachine() (*space, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the machine's network namespace: %w", err)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open netlink of the machine: %w", err)
	}
	return &space{Handle: h, ns: ns, name: "the machine"}, nil
}

// newNetNS makes a named namespace as ip-netns does, except that /run/netns does
// not become a mount of its own, which nothing would ever unmount again.
func newNetNS(name string) (netns.NsHandle, error) {
	path := filepath.Join(netnsDir, name)
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return netns.None(), err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return netns.None(), err
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		return netns.None(), errors.Join(err, os.Remove(path))
	}
	return netns.GetFromName(name)
}

// onThread calls f on a thread of its own, which ends with the call: f may
// change the thread's namespaces.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't end, and /proc/self shows its namespaces.
			// While this goroutine holds it, the next one gets another.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // still locked at its end, the thread is thrown away
	}()
	return <-done
}

func (s *space) close() {
	s.Handle.Close()
	s.ns.Close()
}

func (s *space) sysctl(path, value string) error {
	return onThread(func() error {
		if err := netns.Set(s.ns); err != nil {
			return fmt.Errorf("enter %s: %w", s.name, err)
		}
		name := filepath.Join("/proc/sys", path)
		have, err := os.ReadFile(name)
		if err == nil && strings.TrimSpace(string(have)) == value {
			return nil
		}
		if err == nil {
			err = os.WriteFile(name, []byte(value), 0)
		}
		if err != nil {
			return fmt.Errorf("set sysctl in %s: %w", s.name, err)
		}
		return nil
	})
}

// bridge makes a bridge with these addresses.
func (s *space) bridge(name string, addrs []netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := s.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("add bridge: %w", err)
	}
	_, err := s.configure(name, addrs)
	return err
}

// veth makes a link between two namespaces, with addresses at this end. The far
// end joins the bridge, if one is named.
func (s *space) veth(name string, far *space, farName string, addrs []netip.Prefix, bridge string) error {
	if _, err := s.LinkByName(name); errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: farName}
		pair.PeerNamespace = netlink.NsFd(int(far.ns))
		if err := s.LinkAdd(pair); err != nil {
			return fmt.Errorf("add veth %s of %s to %s of %s: %w", name, s.name, farName, far.name, err)
		}
	} else if err != nil {
		return fmt.Errorf("find %s of %s: %w", name, s.name, err)
	}
	if _, err := s.configure(name, addrs); err != nil {
		return err
	}
	link, err := far.configure(farName, nil)
	if err != nil || bridge == "" {
		return err
	}
	master, err := far.LinkByName(bridge)
	if err == nil {
		err = far.LinkSetMaster(link, master)
	}
	if err != nil {
		return fmt.Errorf("attach %s to %s: %w", farName, bridge, err)
	}
	return nil
}

// configure brings the link up with these addresses.
func (s *space) configure(name string, addrs []netip.Prefix) (netlink.Link, error) {
	link, err := s.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s of %s: %w", name, s.name, err)
	}
	for _, a := range addrs {
		if err := s.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return nil, fmt.Errorf("add %s to %s of %s: %w", a, name, s.name, err)
		}
	}
	if err := s.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring up %s of %s: %w", name, s.name, err)
	}
	return link, nil
}

func (s *space) defaultRoutes(name string, gateways []netip.Prefix) error {
	link, err := s.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", name, s.name, err)
	}
	for _, g := range gateways {
		if err := s.route(netip.PrefixFrom(unspecified(g.Addr()), 0), g.Addr(), link); err != nil {
			return err
		}
	}
	return nil
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (s *space) route(dst netip.Prefix, gateway netip.Addr, link netlink.Link) error {
	err := s.RouteReplace(&netlink.Route{Dst: ipNet(dst), Gw: gateway.AsSlice(), LinkIndex: link.Attrs().Index})
	if err != nil {
		return fmt.Errorf("add route %s via %s of %s: %w", dst, gateway, s.name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
