package derive

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// nodeFields are the fields of a Node that are annotations of the Kubernetes Node.
var nodeFields = []struct {
	annotation string
	field      func(*v3.Node) *string // spec.bgp and spec.wireguard are there
}{
	{v3.NodeIPv4Address, func(n *v3.Node) *string { return &n.Spec.BGP.IPv4Address }},
	{v3.NodeIPv6Address, func(n *v3.Node) *string { return &n.Spec.BGP.IPv6Address }},
	{"projectcalico.org/IPv4IPIPTunnelAddr", func(n *v3.Node) *string { return &n.Spec.BGP.IPv4IPIPTunnelAddr }},
	{v3.NodeClusterID, func(n *v3.Node) *string { return &n.Spec.BGP.RouteReflectorClusterID }},
	{v3.NodeIPv4VXLANTunnelAddr, func(n *v3.Node) *string { return &n.Spec.IPv4VXLANTunnelAddr }},
	{v3.NodeIPv6VXLANTunnelAddr, func(n *v3.Node) *string { return &n.Spec.IPv6VXLANTunnelAddr }},
	{v3.NodeVXLANTunnelMACAddr, func(n *v3.Node) *string { return &n.Spec.VXLANTunnelMACAddr }},
	{v3.NodeVXLANTunnelMACAddrV6, func(n *v3.Node) *string { return &n.Spec.VXLANTunnelMACAddrV6 }},
	{"projectcalico.org/IPv4WireguardInterfaceAddr",
		func(n *v3.Node) *string { return &n.Spec.Wireguard.InterfaceIPv4Address }},
	{"projectcalico.org/IPv6WireguardInterfaceAddr",
		func(n *v3.Node) *string { return &n.Spec.Wireguard.InterfaceIPv6Address }},
	{"projectcalico.org/WireguardPublicKey", func(n *v3.Node) *string { return &n.Status.WireguardPublicKey }},
	{"projectcalico.org/WireguardPublicKeyV6", func(n *v3.Node) *string { return &n.Status.WireguardPublicKeyV6 }},
}

// The types of a Node's addresses.
const (
	calicoNodeIP = "CalicoNodeIP"
	internalIP   = "InternalIP"
	externalIP   = "ExternalIP"
)

// Node returns the Node of a Kubernetes Node. Annotations are not carried over: those that say something are in the
// spec.
func Node(node *corev1.Node) *v3.Node {
	n := &v3.Node{
		TypeMeta: typeMeta("Node"),
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, CreationTimestamp: node.CreationTimestamp,
			ResourceVersion: node.ResourceVersion, Labels: node.Labels},
		Spec: v3.NodeSpec{
			OrchRefs:  []v3.OrchRef{{NodeName: node.Name, Orchestrator: v3.OrchestratorK8s}},
			BGP:       &v3.NodeBGPSpec{},
			Wireguard: &v3.NodeWireguardSpec{},
		},
		Status: v3.NodeStatus{PodCIDRs: node.Spec.PodCIDRs},
	}
	n = n.DeepCopy()
	for _, f := range nodeFields {
		*f.field(n) = node.Annotations[f.annotation]
	}
	if asn, err := ParseASNumber(node.Annotations[v3.NodeASNumber]); err == nil {
		n.Spec.BGP.ASNumber = &asn
	}
	n.Spec.Addresses = nodeAddresses(node, n.Spec.BGP)
	if *n.Spec.BGP == (v3.NodeBGPSpec{}) {
		n.Spec.BGP = nil
	}
	if *n.Spec.Wireguard == (v3.NodeWireguardSpec{}) {
		n.Spec.Wireguard = nil
	}
	return n
}

func nodeAddresses(node *corev1.Node, bgp *v3.NodeBGPSpec) []v3.NodeAddress {
	var all []v3.NodeAddress
	for _, address := range []string{bgp.IPv4Address, bgp.IPv6Address} {
		if address != "" {
			all = append(all, v3.NodeAddress{Address: address, Type: calicoNodeIP})
		}
	}
	types := map[corev1.NodeAddressType]string{corev1.NodeInternalIP: internalIP, corev1.NodeExternalIP: externalIP}
	for _, address := range node.Status.Addresses {
		if t, ok := types[address.Type]; ok {
			all = append(all, v3.NodeAddress{Address: address.Address, Type: t})
		}
	}
	return all
}

// ApplyNode writes into a Kubernetes Node what a Node says: the fields that are annotations there, and labels. Labels
// of kubernetes.io and k8s.io belong to Kubernetes: they are neither changed nor removed. What cannot be stored,
// because Kubernetes decides it, is ignored: the addresses and orchRefs, annotations, and pod networks.
func ApplyNode(n *v3.Node, node *corev1.Node) {
	n = n.DeepCopy()
	if n.Spec.BGP == nil {
		n.Spec.BGP = &v3.NodeBGPSpec{}
	}
	if n.Spec.Wireguard == nil {
		n.Spec.Wireguard = &v3.NodeWireguardSpec{}
	}
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	for _, f := range nodeFields {
		set(node.Annotations, f.annotation, *f.field(n))
	}
	asn := ""
	if n.Spec.BGP.ASNumber != nil {
		asn = strconv.FormatUint(uint64(*n.Spec.BGP.ASNumber), 10)
	}
	set(node.Annotations, v3.NodeASNumber, asn)

	labels := map[string]string{}
	for key, value := range n.Labels {
		if !ofKubernetes(key) {
			labels[key] = value
		}
	}
	for key, value := range node.Labels {
		if ofKubernetes(key) {
			labels[key] = value
		}
	}
	node.Labels = labels
}

func set(annotations map[string]string, key, value string) {
	if value == "" {
		delete(annotations, key)
		return
	}
	annotations[key] = value
}

// ofKubernetes reports whether a label key is in a domain that Kubernetes keeps for itself.
func ofKubernetes(key string) bool {
	domain, _, found := strings.Cut(key, "/")
	return found && (domain == "kubernetes.io" || domain == "k8s.io" ||
		strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io"))
}

// ParseASNumber reads an AS number, 1 to 4294967295, or in the dotted form of RFC 5396.
func ParseASNumber(text string) (uint32, error) {
	high, low, dotted := strings.Cut(text, ".")
	bits := 16
	if !dotted {
		high, low, bits = "0", text, 32
	}
	h, err := strconv.ParseUint(high, 10, 16)
	l, err2 := strconv.ParseUint(low, 10, bits)
	if err != nil || err2 != nil || h|l == 0 {
		return 0, fmt.Errorf("%q is not an AS number from 1 to 4294967295, or two numbers up to 65535 with a dot", text)
	}
	return uint32(h<<16 | l), nil
}
