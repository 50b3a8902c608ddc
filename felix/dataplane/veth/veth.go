// Package veth makes, checks and removes the pair of devices that connects a pod.
//
// It owns the pair: the host's end in the calling thread's network namespace, and the pod's end with its addresses and
// default routes in the pod's. It knows nothing of policy. Of the host's end it sets what must be closed before it is
// up; the other sysctls, and the route to the pod, are the drivers'. It keeps no state, so there is nothing to
// reconcile: the CNI server calls it, on any goroutine, with the pod's namespace.
package veth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HostMAC is the address of the host's end of every pair, as in Calico: pods may then move their neighbour
// entries from node to node.
var HostMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}

// The gateways of pods. The IPv6 one is the link-local address that HostMAC gives the host's end.
var (
	GatewayV4 = netip.MustParseAddr("169.254.1.1")
	GatewayV6 = netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")
)

// Pair is what a pod's connection looks like.
type Pair struct {
	Host  string   // name of the host's end, at most 15 bytes
	Netns *os.File // the pod's network namespace
	Pod   string   // name of the pod's end: "eth0"
	MTU   int      // bytes, of both ends; 0 leaves it to the kernel
	// Addrs are the pod's addresses, set as /32 or /128. A family with an address gets a default route.
	Addrs []netip.Addr
	// MAC of the pod's end; nil for a random one. Check ignores nil.
	MAC net.HardwareAddr
}

// Result is what Create made.
type Result struct {
	HostIndex int // interface index of the host's end
	PodIndex  int // interface index in the pod's namespace
	PodMAC    net.HardwareAddr
}

// gateways returns the gateway of each family that has an address.
func (p Pair) gateways() []netip.Addr {
	var list []netip.Addr
	if slices.ContainsFunc(p.Addrs, netip.Addr.Is4) {
		list = append(list, GatewayV4)
	}
	if p.hasIPv6() {
		list = append(list, GatewayV6)
	}
	return list
}

func (p Pair) hasIPv6() bool { return slices.ContainsFunc(p.Addrs, netip.Addr.Is6) }

// randomMAC returns a unicast address of local administration.
func randomMAC() net.HardwareAddr {
	m := make(net.HardwareAddr, 6)
	rand.Read(m)
	m[0] = m[0]&^1 | 2
	return m
}

// Create makes the pair and sets both ends up. A pair of that name left over on the host is removed first. What
// an error leaves behind has been removed.
func (v Pairs) Create(ctx context.Context, p Pair) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if p.MAC == nil {
		p.MAC = randomMAC()
	}
	h, err := v.host.Open()
	if err != nil {
		return Result{}, err
	}
	defer h.Close()
	host, err := addPair(h, p)
	if err != nil {
		return Result{}, fmt.Errorf("create %s with %s: %w", p.Host, p.Pod, err)
	}
	r := Result{HostIndex: host.Attrs().Index, PodMAC: p.MAC}
	err = setUpHost(h, host, p)
	if err == nil {
		err = v.host.Within(p.Netns, func(pod Kernel) (err error) {
			r.PodIndex, err = setUpPod(ctx, pod, p)
			return err
		})
	}
	if err == nil {
		err = activate(h, host)
	}
	if err != nil {
		if e := h.LinkDel(host); e != nil {
			err = errors.Join(err, fmt.Errorf("delete %s: %w", p.Host, e))
		}
		return Result{}, err
	}
	return r, nil
}

// addPair makes the pair, both ends down, the pod's end in its namespace.
func addPair(h Kernel, p Pair) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = p.Host, p.MTU, HostMAC
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         p.Pod,
		PeerHardwareAddr: p.MAC,
		PeerNamespace:    netlink.NsFd(p.Netns.Fd()),
	}
	err := h.LinkAdd(pair)
	if errors.Is(err, unix.EEXIST) {
		if e := deletePair(h, p.Host); e != nil {
			return nil, errors.Join(err, e)
		}
		err = h.LinkAdd(pair) // once more EEXIST: the pod has a device of that name
	}
	return pair, err
}

// setUpHost gives the host's end what the pod's gateways need, and closes it to what they do not.
func setUpHost(h Kernel, host netlink.Link, p Pair) error {
	if err := closeIPv6(h, p); err != nil {
		return err
	}
	if p.hasIPv6() {
		// The kernel would make the same link-local address, but not use it before it has waited for a duplicate.
		if err := h.LinkSetIP6AddrGenMode(host, nl6AddrGenModeNone); err != nil {
			return fmt.Errorf("stop automatic addresses of %s: %w", p.Host, err)
		}
	}
	if err := h.LinkSetUp(host); err != nil {
		return fmt.Errorf("set %s up: %w", p.Host, err)
	}
	if p.hasIPv6() {
		if err := h.AddrAdd(host, addr(GatewayV6, 64)); err != nil {
			return fmt.Errorf("add address %s to %s: %w", GatewayV6, p.Host, err)
		}
	}
	return nil
}

// closeIPv6 keeps the node from learning routes from the pod. For a pod without an IPv6 address, which may have no
// IPv6 rules, it turns IPv6 off on the interface, including the link-local address that the kernel would add.
func closeIPv6(h Kernel, p Pair) error {
	conf := "net/ipv6/conf/" + p.Host + "/"
	key, value := conf+"disable_ipv6", "1"
	if p.hasIPv6() {
		key, value = conf+"accept_ra", "0"
	}
	err := h.WriteSetting(key, value)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the kernel has no IPv6
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	return nil
}

// activate makes sure that the host's end transmits. It got its carrier when the pod's end went up, but drops
// everything until the kernel's link watch has seen that, a moment later; to ask for the link brings it
// forward (Linux 6.8).
func activate(h Kernel, host netlink.Link) error {
	if _, err := h.LinkByIndex(host.Attrs().Index); err != nil {
		return fmt.Errorf("look up %s: %w", host.Attrs().Name, err)
	}
	return nil
}

// nl6AddrGenModeNone is IN6_ADDR_GEN_MODE_NONE of include/uapi/linux/if_link.h.
const nl6AddrGenModeNone = 1

// setUpPod configures the pod's end, from within its namespace, and returns its index.
func setUpPod(ctx context.Context, h Kernel, p Pair) (int, error) {
	if p.hasIPv6() {
		if err := enableIPv6(h); err != nil {
			return 0, err
		}
	}
	pod, err := h.LinkByName(p.Pod)
	if err != nil {
		return 0, fmt.Errorf("look up %s in the pod: %w", p.Pod, err)
	}
	if err := h.LinkSetUp(pod); err != nil {
		return 0, fmt.Errorf("set %s up: %w", p.Pod, err)
	}
	for _, a := range p.Addrs {
		if err := h.AddrAdd(pod, addr(a, a.BitLen())); err != nil {
			return 0, fmt.Errorf("add address %s to %s: %w", a, p.Pod, err)
		}
	}
	for _, g := range p.gateways() {
		// The gateway's MAC is known, so that the first packet needs no question and answer.
		if err := h.NeighSet(neighbour(pod, g)); err != nil {
			return 0, fmt.Errorf("add neighbour %s of %s: %w", g, p.Pod, err)
		}
		if err := h.RouteAdd(defaultRoute(pod, g)); err != nil {
			return 0, fmt.Errorf("add default route by %s: %w", g, err)
		}
	}
	for _, a := range p.Addrs {
		if err := waitLocal(ctx, h, a); err != nil {
			return 0, fmt.Errorf("wait for address %s of %s: %w", a, p.Pod, err)
		}
	}
	return pod.Attrs().Index, nil
}

// waitLocal waits until the kernel answers for an IPv6 address. Even without duplicate address detection a
// kernel worker joins the groups and adds the local route, a moment after the address is there (Linux 6.18).
func waitLocal(ctx context.Context, h Kernel, a netip.Addr) error {
	if a.Is4() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, addressTimeout)
	defer cancel()
	ticker := time.NewTicker(addressPoll)
	defer ticker.Stop()
	for {
		routes, err := h.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// How long an IPv6 address may take, usually well under a millisecond, and how often to look.
const (
	addressTimeout = 5 * time.Second
	addressPoll    = 200 * time.Microsecond
)

// enableIPv6 undoes what some container runtimes do to new namespaces.
func enableIPv6(h Kernel) error {
	for _, of := range []string{"all", "default"} {
		key := "net/ipv6/conf/" + of + "/disable_ipv6"
		value, err := h.ReadSetting(key)
		if err != nil {
			return fmt.Errorf("the kernel has no IPv6: %w", err)
		}
		if strings.HasPrefix(value, "0") {
			continue
		}
		if err := h.WriteSetting(key, "0"); err != nil {
			return fmt.Errorf("enable IPv6 in the pod: %w", err)
		}
	}
	return nil
}

func addr(a netip.Addr, bits int) *netlink.Addr {
	r := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}
	if a.Is6() {
		r.Flags = unix.IFA_F_NODAD // IPAM sees to it that there is no duplicate
	}
	return r
}

func neighbour(pod netlink.Link, gateway netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: pod.Attrs().Index, State: netlink.NUD_PERMANENT, IP: gateway.AsSlice(), HardwareAddr: HostMAC,
	}
}

func defaultRoute(pod netlink.Link, gateway netip.Addr) *netlink.Route {
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	flags := int(netlink.FLAG_ONLINK)
	if gateway.Is6() {
		everything, flags = netip.PrefixFrom(netip.IPv6Unspecified(), 0), 0 // link-local: on the link anyway
	}
	return &netlink.Route{
		LinkIndex: pod.Attrs().Index,
		Dst:       &net.IPNet{IP: everything.Addr().AsSlice(), Mask: net.CIDRMask(0, everything.Addr().BitLen())},
		Gw:        gateway.AsSlice(),
		Flags:     flags,
	}
}

// Delete removes the pair by the host's end. That there is none is no error.
func (v Pairs) Delete(ctx context.Context, host string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := v.host.Open()
	if err != nil {
		return err
	}
	defer h.Close()
	return deletePair(h, host)
}

// Exists reports whether there is a device with the name of a host's end.
func (v Pairs) Exists(host string) (bool, error) {
	h, err := v.host.Open()
	if err != nil {
		return false, err
	}
	defer h.Close()
	_, err = h.LinkByName(host)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", host, err)
	}
	return true, nil
}

func deletePair(h Kernel, host string) error {
	link, err := h.LinkByName(host)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil
	}
	if err == nil && link.Type() != "veth" {
		return fmt.Errorf("delete %s: it is a %s device, not ours", host, link.Type())
	}
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) { // ENODEV: the pod's namespace, and with it the pair, went just now
		return fmt.Errorf("delete %s: %w", host, err)
	}
	return nil
}
