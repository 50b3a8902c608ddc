package hostendpoint

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/api/rule"
	"github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Names and labels as Calico has them.
const (
	labelCreatedBy = "projectcalico.org/created-by"
	createdBy      = "calico-kube-controllers"
	suffix         = "-auto-hep"
	everyInterface = "*"

	autoCreateEnabled = "Enabled"
)

// Wanted returns the host endpoints of a node. A template that goes by the names of interfaces gives none: nodes do not
// tell them to the API server.
func Wanted(config *v3.AutoHostEndpointConfig, node *corev1.Node) []*v3.HostEndpoint {
	var all []*v3.HostEndpoint
	ips := addresses(derive.Node(node))
	if config.CreateDefaultHostEndpoint != v3.DefaultHostEndpointsDisabled {
		all = append(all, hostEndpoint(node, "", nil, nil, v3.HostEndpointSpec{
			InterfaceName: everyInterface, ExpectedIPs: texts(ips), Profiles: []string{derive.DefaultAllow}}))
	}
	for i := range config.Templates {
		t := &config.Templates[i]
		nodes, err := selector.Parse(t.NodeSelector)
		if err != nil || !nodes.Matches(node.Labels) {
			continue
		}
		if expected := within(ips, t.InterfaceCIDRs); len(expected) > 0 {
			all = append(all, hostEndpoint(node, t.GenerateName, t.Labels, t.Annotations, v3.HostEndpointSpec{
				ExpectedIPs: texts(expected), Profiles: []string{derive.DefaultAllow}}))
		}
	}
	return all
}

func hostEndpoint(node *corev1.Node, part string, labels, annotations map[string]string,
	spec v3.HostEndpointSpec) *v3.HostEndpoint {
	all := map[string]string{}
	maps.Copy(all, node.Labels)
	maps.Copy(all, labels)
	all[labelCreatedBy] = createdBy
	name := node.Name
	if part != "" {
		name += "-" + part
	}
	spec.Node = node.Name
	return &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: name + suffix, Labels: all, Annotations: annotations},
		Spec: spec}
}

// addresses returns those of the node itself and of its tunnels, each once.
func addresses(node *v3.Node) []netip.Addr {
	var written []string
	if b := node.Spec.BGP; b != nil {
		written = append(written, b.IPv4Address, b.IPv6Address, b.IPv4IPIPTunnelAddr)
	}
	written = append(written, node.Spec.IPv4VXLANTunnelAddr, node.Spec.IPv6VXLANTunnelAddr)
	if w := node.Spec.Wireguard; w != nil {
		written = append(written, w.InterfaceIPv4Address, w.InterfaceIPv6Address)
	}
	for _, a := range node.Spec.Addresses {
		if a.Type == string(corev1.NodeInternalIP) {
			written = append(written, a.Address)
		}
	}
	var all []netip.Addr
	for _, text := range written {
		address, err := netip.ParseAddr(text)
		if prefix, wrong := netip.ParsePrefix(text); wrong == nil {
			address, err = prefix.Addr(), nil
		}
		if err == nil && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

func within(ips []netip.Addr, nets []string) []netip.Addr {
	var inside []netip.Addr
	for _, ip := range ips {
		if slices.ContainsFunc(nets, func(text string) bool {
			net, err := rule.ParseNet(text)
			return err == nil && net.Contains(ip)
		}) {
			inside = append(inside, ip)
		}
	}
	return inside
}

func texts(ips []netip.Addr) []string {
	var all []string
	for _, ip := range ips {
		all = append(all, ip.String())
	}
	return all
}
