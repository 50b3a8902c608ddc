package veth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Check returns an error that says what differs from p, or nil.
func (v Pairs) Check(ctx context.Context, p Pair) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := v.host.Open()
	if err != nil {
		return err
	}
	defer h.Close()
	host, err := h.LinkByName(p.Host)
	if err != nil {
		return fmt.Errorf("look up %s: %w", p.Host, err)
	}
	errs := []error{checkLink(host, p.MTU, HostMAC)}
	errs = append(errs, v.host.Within(p.Netns, func(pod Kernel) error { return checkPod(pod, p, host) }))
	return errors.Join(errs...)
}

func checkLink(l netlink.Link, mtu int, mac net.HardwareAddr) error {
	a := l.Attrs()
	var errs []error
	if a.Flags&net.FlagUp == 0 {
		errs = append(errs, fmt.Errorf("%s is down", a.Name))
	}
	if mtu != 0 && a.MTU != mtu {
		errs = append(errs, fmt.Errorf("%s has mtu %d, not %d", a.Name, a.MTU, mtu))
	}
	if mac != nil && !slices.Equal(a.HardwareAddr, mac) {
		errs = append(errs, fmt.Errorf("%s has mac %s, not %s", a.Name, a.HardwareAddr, mac))
	}
	return errors.Join(errs...)
}

// checkPod runs within the pod's namespace.
func checkPod(h Kernel, p Pair, host netlink.Link) error {
	pod, err := h.LinkByName(p.Pod)
	if err != nil {
		return fmt.Errorf("look up %s in the pod: %w", p.Pod, err)
	}
	errs := []error{checkLink(pod, p.MTU, p.MAC)}
	if host.Attrs().ParentIndex != pod.Attrs().Index {
		errs = append(errs, fmt.Errorf("%s is not connected to %s", p.Pod, p.Host))
	}
	addrs, err := h.AddrList(pod, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", p.Pod, err)
	}
	for _, want := range p.Addrs {
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
			have, _ := netip.AddrFromSlice(a.IP)
			return have == want
		}) {
			errs = append(errs, fmt.Errorf("%s has no address %s", p.Pod, want))
		}
	}
	routes, err := h.RouteList(pod, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list routes of %s: %w", p.Pod, err)
	}
	for _, want := range p.gateways() {
		if !slices.ContainsFunc(routes, func(r netlink.Route) bool {
			gateway, _ := netip.AddrFromSlice(r.Gw)
			return gateway == want && (r.Dst == nil || isDefault(r.Dst))
		}) {
			errs = append(errs, fmt.Errorf("the pod has no default route by %s", want))
		}
	}
	return errors.Join(errs...)
}

func isDefault(n *net.IPNet) bool {
	ones, _ := n.Mask.Size()
	return ones == 0
}
