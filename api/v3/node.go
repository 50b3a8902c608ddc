package v3

// The annotations of a Kubernetes Node by which nodes describe themselves to each other, Calico's.
const (
	NodeIPv4Address          = "projectcalico.org/IPv4Address" // with the length of its subnet: 172.30.0.11/24
	NodeIPv6Address          = "projectcalico.org/IPv6Address"
	NodeASNumber             = "projectcalico.org/ASNumber"
	NodeClusterID            = "projectcalico.org/RouteReflectorClusterID"
	NodeIPv4VXLANTunnelAddr  = "projectcalico.org/IPv4VXLANTunnelAddr"
	NodeIPv6VXLANTunnelAddr  = "projectcalico.org/IPv6VXLANTunnelAddr"
	NodeVXLANTunnelMACAddr   = "projectcalico.org/VXLANTunnelMACAddr"
	NodeVXLANTunnelMACAddrV6 = "projectcalico.org/VXLANTunnelMACAddrV6"
)
