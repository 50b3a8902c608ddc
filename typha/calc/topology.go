package calc

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/derive"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/wire"
)

// poolOf returns an IPPool as nodes need it, and why it cannot give addresses. It returns nil if the range cannot be
// read.
func poolOf(o *v3.IPPool) (*wire.Pool, error) {
	notNetwork := fmt.Errorf("spec.cidr: %q is not a network such as 10.244.0.0/16", o.Spec.CIDR)
	cidr, err := netip.ParsePrefix(o.Spec.CIDR)
	if err != nil {
		return nil, notNetwork
	}
	p := &wire.Pool{
		Name: o.Name, CIDR: cidr.Masked(), BlockSize: o.Spec.BlockSize,
		NATOutgoing: o.Spec.NATOutgoing, Disabled: o.Spec.Disabled, DisableBGPExport: o.Spec.DisableBGPExport,
		NodeSelector: o.Spec.NodeSelector, NamespaceSelector: o.Spec.NamespaceSelector,
		Manual: o.Spec.AssignmentMode == v3.Manual,
	}
	var errVXLAN, errIPIP error
	p.VXLAN, errVXLAN = encapOf("spec.vxlanMode", string(o.Spec.VXLANMode))
	p.IPIP, errIPIP = encapOf("spec.ipipMode", string(o.Spec.IPIPMode))
	if p.CIDR != cidr {
		err = notNetwork
	}
	if p.BlockSize == 0 {
		p.BlockSize = 26
		if cidr.Addr().Is6() {
			p.BlockSize = 122
		}
	}
	for _, use := range o.Spec.AllowedUses {
		p.AllowedUses = append(p.AllowedUses, string(use))
	}
	return p, cmp.Or(err, errVXLAN, errIPIP)
}

// encapOf reads a mode; one that cannot be read is Never.
func encapOf(field, mode string) (wire.Encap, error) {
	switch mode {
	case "", "Never":
		return wire.EncapNever, nil
	case "Always":
		return wire.EncapAlways, nil
	case "CrossSubnet":
		return wire.EncapCrossSubnet, nil
	}
	return wire.EncapNever, fmt.Errorf("%s: %q is none of Never, Always, CrossSubnet", field, mode)
}

func (e *Engine) upsertNode(o *corev1.Node) { e.setNode(KindNode, o) }

// upsertCalicoNode takes in a node of a datastore that has no Nodes of Kubernetes.
func (e *Engine) upsertCalicoNode(o *v3.Node) {
	as := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}
	derive.ApplyNode(o, as)
	as.Labels = o.Labels
	for _, a := range o.Spec.Addresses {
		address, _, _ := strings.Cut(a.Address, "/")
		as.Status.Addresses = append(as.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(a.Type), Address: address})
	}
	e.setNode(KindCalicoNode, as)
}

func (e *Engine) setNode(kind string, o *corev1.Node) {
	h, err := hostOf(o)
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	if before := e.hosts[o.Name]; before != nil {
		h.BGPPort = before.BGPPort
	}
	e.out.set(h)
	own := &wire.Node{Name: o.Name}
	if len(o.Labels) > 0 {
		own.Labels = o.Labels
	}
	e.setNodeObject(o.Name, own)
	if e.hosts[o.Name] == nil {
		e.countNode(&e.everywhere, nodeNamed(o.Name), 1)
	}
	e.hosts[o.Name] = h
	e.bgp.SetNode(h, own.Labels)
	e.felix.setNode(o.Name, own.Labels)
	e.setNodeItem(own, nodeAddresses(o))
	e.setTunnels(&tunnelNode{kind: kind, name: o.Name, reason: reason, ends: tunnelEnds(o, h)})
}

func nodeAddresses(o *corev1.Node) (addrs []netip.Addr) {
	for _, address := range o.Status.Addresses {
		if a, err := netip.ParseAddr(address.Address); err == nil {
			addrs = append(addrs, a.Unmap().WithZone(""))
		}
	}
	return addrs
}

func (e *Engine) deleteNode(name string) {
	h := e.hosts[name]
	if h == nil {
		return
	}
	e.out.remove(h.ID())
	e.removeNodeObject(name, wire.ID{Kind: wire.KindNode, Name: name})
	e.countNode(&e.everywhere, nodeNamed(name), -1)
	delete(e.hosts, name)
	e.bgp.DeleteNode(name)
	e.felix.removeNode(name)
	e.removeItem(labelindex.Key{Kind: labelindex.Node, Name: name})
	e.removeTunnels(name)
}

// hostOf returns what every node is told of a Node. What cannot be read is left out and
// reported.
func hostOf(o *corev1.Node) (*wire.Host, error) {
	h := &wire.Host{Name: o.Name, RouteReflectorClusterID: o.Annotations[v3.NodeClusterID]}
	for _, address := range o.Status.Addresses {
		a, err := netip.ParseAddr(address.Address)
		if err != nil || address.Type != corev1.NodeInternalIP {
			continue
		}
		a = a.Unmap()
		if single := netip.PrefixFrom(a, a.BitLen()); a.Is4() && !h.IPv4.IsValid() {
			h.IPv4 = single
		} else if a.Is6() && !h.IPv6.IsValid() {
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

// annotatedAddress reads the address that an annotation names, if it is there and of the right family.
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

// parseHostAddress reads an address with or without its subnet's length.
func parseHostAddress(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}
