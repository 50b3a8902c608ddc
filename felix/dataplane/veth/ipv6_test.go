package veth_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// hostIPv4 is an address of the node.
const hostIPv4 = "192.0.2.1"

// connect makes a pair without any rules, and the routes to the pod.
func connect(t *testing.T, addrs ...netip.Addr) *os.File {
	t.Helper()
	ns := kerneltest.New(t)
	// As kernels have it, but for the wait for duplicates of the link-local address.
	defaults := "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 " +
		"net.ipv6.conf.default.accept_ra=1 net.ipv6.conf.default.accept_dad=0"
	kerneltest.Run(t, defaults)
	in(t, ns, defaults)
	kerneltest.Run(t, "ip addr add "+hostIPv4+"/32 dev lo")
	if _, err := veth.Open().Create(t.Context(), veth.Pair{Host: "cali1", Netns: ns, Pod: "eth0",
		Addrs: addrs}); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "ip route add "+pod4.String()+" dev cali1")
	for deadline := time.Now().Add(10 * time.Second); ; { // the pod's link-local address is usable a moment later
		show := in(t, ns, "ip -6 addr show dev eth0 scope link")
		if show != "" && !strings.Contains(show, "tentative") {
			return ns
		}
		if time.Now().After(deadline) {
			t.Fatalf("the pod has no link-local address:\n%s", show)
		}
	}
}

// dials connects from a pod.
func dials(t *testing.T, ns *os.File, to string, timeout time.Duration) error {
	t.Helper()
	var failed error
	kerneltest.Do(t, ns, func() {
		conn, err := net.DialTimeout("tcp", to, timeout)
		if err == nil {
			conn.Close()
		}
		failed = err
	})
	return failed
}

// TestIPv6Closed: a pod without an IPv6 address does not reach its node by the kernel's link-local address, though
// nobody programs rules for IPv6; in IPv4 it does.
func TestIPv6Closed(t *testing.T) {
	kerneltest.Enter(t)
	ns := connect(t, pod4)
	listener, err := net.Listen("tcp", ":10250")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := dials(t, ns, hostIPv4+":10250", 10*time.Second); err != nil {
		t.Errorf("in IPv4: %v", err)
	}
	if show := kerneltest.Run(t, "ip -6 addr show dev cali1"); show != "" {
		t.Errorf("the host's end has addresses:\n%s", show)
	}
	node := "[" + veth.GatewayV6.String() + "%eth0]:10250"
	if dials(t, ns, node, 500*time.Millisecond) == nil {
		t.Errorf("the pod reaches %s", node)
	}
	// An interface that the kernel treats as any other, as of an earlier release, shows that there was something to
	// close.
	kerneltest.Run(t, "sysctl -qw net.ipv6.conf.cali1.disable_ipv6=0")
	if err := dials(t, ns, node, 10*time.Second); err != nil {
		t.Errorf("with IPv6 turned on: %v", err)
	}
}

// advertise sends the node a router advertisement from a pod, and waits for what was sent after it.
func advertise(t *testing.T, ns *os.File) {
	t.Helper()
	after, err := net.ListenPacket("udp4", hostIPv4+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	kerneltest.Do(t, ns, func() {
		conn, err := net.Dial("udp4", after.LocalAddr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if err := sendAdvertisement(); err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.Write([]byte("after")); err != nil {
			t.Error(err)
		}
	})
	if err := after.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := after.ReadFrom(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
}

// sendAdvertisement sends, from eth0 of the thread's namespace, that who sends it is a router for half an hour (RFC
// 4861 section 4.2).
func sendAdvertisement() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	if err != nil {
		return fmt.Errorf("open a socket of ICMPv6: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return fmt.Errorf("set the hop limit: %w", err)
	}
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return fmt.Errorf("look up eth0: %w", err)
	}
	allNodes := &unix.SockaddrInet6{ZoneId: uint32(eth0.Index), Addr: netip.MustParseAddr("ff02::1").As16()}
	if err := unix.Sendto(fd, []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}, 0,
		allNodes); err != nil {
		return fmt.Errorf("send a router advertisement: %w", err)
	}
	return nil
}

// TestRouterAdvertisement: no pod becomes the node's router, with an IPv6 address or without.
func TestRouterAdvertisement(t *testing.T) {
	for _, addrs := range [][]netip.Addr{{pod4}, {pod4, pod6}} {
		t.Run(fmt.Sprint(addrs), func(t *testing.T) {
			kerneltest.Enter(t)
			kerneltest.OneCPU(t)
			ns := connect(t, addrs...)
			advertise(t, ns)
			if routes := kerneltest.Run(t, "ip -6 route show default"); routes != "" {
				t.Errorf("the node took routes from the pod:\n%s", routes)
			}
			kerneltest.Run(t, "sysctl -qw net.ipv6.conf.cali1.accept_ra=1 net.ipv6.conf.cali1.disable_ipv6=0")
			advertise(t, ns)
			if routes := kerneltest.Run(t, "ip -6 route show default"); !strings.Contains(routes, "dev cali1") {
				t.Errorf("nothing was to be closed: an ordinary interface took no route either:\n%s", routes)
			}
		})
	}
}
