package v3

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is a host of the cluster. In a Kubernetes datastore it is derived from the Node of Kubernetes and its
// annotations; it has no CRD.
//
// +kubebuilder:object:root=true
// +kubebuilder:skipversion
type Node struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   NodeSpec   `json:"spec,omitempty"`
	Status NodeStatus `json:"status,omitempty,omitzero"`
}

// NodeList is a list of Node.
//
// +kubebuilder:object:root=true
type NodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Node `json:"items"`
}

// NodeSpec is the node's addresses.
type NodeSpec struct {
	// Addresses of the node.
	Addresses []NodeAddress `json:"addresses,omitempty"`
	// BGP is the node's part in BGP, and its main addresses.
	BGP *NodeBGPSpec `json:"bgp,omitempty"`
	// IPv4VXLANTunnelAddr is the address of the node's VXLAN device.
	IPv4VXLANTunnelAddr string `json:"ipv4VXLANTunnelAddr,omitempty"`
	// IPv6VXLANTunnelAddr is the address of the node's VXLAN device for IPv6.
	IPv6VXLANTunnelAddr string `json:"ipv6VXLANTunnelAddr,omitempty"`
	// OrchRefs are the names that orchestrators have for the node.
	OrchRefs []OrchRef `json:"orchRefs,omitempty"`
	// VXLANTunnelMACAddr is the MAC address of the VXLAN device.
	VXLANTunnelMACAddr string `json:"vxlanTunnelMACAddr,omitempty"`
	// VXLANTunnelMACAddrV6 is the MAC address of the VXLAN device for IPv6.
	VXLANTunnelMACAddrV6 string `json:"vxlanTunnelMACAddrV6,omitempty"`
	// Wireguard is the node's WireGuard interface.
	Wireguard *NodeWireguardSpec `json:"wireguard,omitempty"`
}

// NodeStatus is what the node tells of itself.
type NodeStatus struct {
	// PodCIDRs are the networks that Kubernetes gave the node.
	PodCIDRs []string `json:"podCIDRs,omitempty"`
	// WireguardPublicKey is the public key for IPv4, in base64.
	WireguardPublicKey string `json:"wireguardPublicKey,omitempty"`
	// WireguardPublicKeyV6 is the public key for IPv6, in base64.
	WireguardPublicKeyV6 string `json:"wireguardPublicKeyV6,omitempty"`
}

// NodeAddress is an address and where it comes from.
type NodeAddress struct {
	// Address, with the length of its subnet or without.
	Address string `json:"address"`
	// Type is CalicoNodeIP, InternalIP or ExternalIP.
	Type string `json:"type,omitempty"`
}

// NodeBGPSpec is a node's part in BGP.
type NodeBGPSpec struct {
	// ASNumber of the node. Absent is the cluster's.
	ASNumber *uint32 `json:"asNumber,omitempty"`
	// IPv4Address of the node, with the length of its subnet.
	IPv4Address string `json:"ipv4Address,omitempty"`
	// IPv4IPIPTunnelAddr is the address of the node's IPIP device.
	IPv4IPIPTunnelAddr string `json:"ipv4IPIPTunnelAddr,omitempty"`
	// IPv6Address of the node, with the length of its subnet.
	IPv6Address string `json:"ipv6Address,omitempty"`
	// RouteReflectorClusterID makes the node a route reflector (RFC 4456).
	RouteReflectorClusterID string `json:"routeReflectorClusterID,omitempty"`
}

// NodeWireguardSpec is the addresses of a node's WireGuard interfaces.
type NodeWireguardSpec struct {
	// InterfaceIPv4Address of the interface.
	InterfaceIPv4Address string `json:"interfaceIPv4Address,omitempty"`
	// InterfaceIPv6Address of the interface.
	InterfaceIPv6Address string `json:"interfaceIPv6Address,omitempty"`
}

// OrchRef is an orchestrator's name of a node.
type OrchRef struct {
	// NodeName is the name.
	NodeName string `json:"nodeName,omitempty"`
	// Orchestrator is k8s or another.
	Orchestrator string `json:"orchestrator"`
}
