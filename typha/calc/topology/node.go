package topology

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/api/derive"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// SetNode adds or changes a node, and returns what every node has to know of it. kind is the kind of the resource that
// the node comes from; Changes.Nodes names it.
func (t *Topology) SetNode(kind string, o *corev1.Node) *wire.Host {
	h, err := hostOf(o)
	if before := t.hosts[o.Name]; before != nil {
		h.BGPPort = before.BGPPort
	}
	t.hosts[o.Name] = h
	t.set(h)
	n := &tunnelNode{node: Node{kind, o.Name}, ends: tunnelEnds(o, h)}
	if err != nil {
		n.reason = err.Error()
	}
	t.tunnels.set(n)
	t.changedTunnels[o.Name] = struct{}{}
	return h
}

// DeleteNode removes a node.
func (t *Topology) DeleteNode(name string) {
	h := t.hosts[name]
	if h == nil {
		return
	}
	delete(t.hosts, name)
	t.remove(h.ID())
	t.tunnels.remove(name)
	t.changedTunnels[name] = struct{}{}
}

// HasNode reports whether there is a node.
func (t *Topology) HasNode(name string) bool { return t.hosts[name] != nil }

// SetBGPPort sets the port on which a node's BGP speaker listens, 0 for the default.
func (t *Topology) SetBGPPort(node string, port uint16) {
	h := t.hosts[node]
	if h == nil || h.BGPPort == port {
		return
	}
	changed := *h
	changed.BGPPort = port
	t.hosts[node] = &changed
	t.set(&changed)
}

// hostOf returns what every node has to know of a Node. The error names what of the Node cannot be read; that is left
// out.
func hostOf(o *corev1.Node) (*wire.Host, error) {
	h := &wire.Host{Name: o.Name, RouteReflectorClusterID: o.Annotations[v3.NodeClusterID]}
	for _, address := range o.Status.Addresses {
		a, err := netip.ParseAddr(address.Address)
		if err != nil || address.Type != corev1.NodeInternalIP {
			continue
		}
		a = a.Unmap()
		single := netip.PrefixFrom(a, a.BitLen())
		switch {
		case a.Is4() && !h.IPv4.IsValid():
			h.IPv4 = single
		case a.Is6() && !h.IPv6.IsValid():
			h.IPv6 = single
		}
	}
	errs := []error{
		annotatedAddress(o, v3.NodeIPv4Address, &h.IPv4, netip.Addr.Is4),
		annotatedAddress(o, v3.NodeIPv6Address, &h.IPv6, netip.Addr.Is6),
	}
	if text := o.Annotations[v3.NodeASNumber]; text != "" {
		number, err := derive.ParseASNumber(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w", v3.NodeASNumber, err))
		}
		h.ASNumber = number
	}
	return h, errors.Join(errs...)
}

// annotatedAddress reads the address that an annotation names, if the annotation is there and the family is right.
func annotatedAddress(o *corev1.Node, annotation string, field *netip.Prefix, right func(netip.Addr) bool) error {
	text, ok := o.Annotations[annotation]
	if !ok {
		return nil
	}
	p, err := parseHostAddress(text)
	if err != nil || !right(p.Addr()) {
		return fmt.Errorf("annotation %s: %q is not an address such as 172.30.0.11/24 or fd00::11/64", annotation, text)
	}
	*field = p
	return nil
}

// parseHostAddress reads an address with or without the length of its subnet's prefix.
func parseHostAddress(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}
