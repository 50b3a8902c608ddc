package derive

import (
	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// TunnelAnnotation says by which annotations of its Node a node publishes its end of a tunnel.
type TunnelAnnotation struct {
	Kind encap.Kind
	// Family is 4 or 6: that of the tunnel device's address, and so of the packets inside the tunnel.
	Family uint8
	// Address and MAC are the annotations with the tunnel device's address and MAC address.
	Address, MAC string
}

// TunnelAnnotations has a row for each kind and family of tunnels that nodes publish.
var TunnelAnnotations = []TunnelAnnotation{
	{encap.VXLAN, 4, v3.NodeIPv4VXLANTunnelAddr, v3.NodeVXLANTunnelMACAddr},
	{encap.VXLAN, 6, v3.NodeIPv6VXLANTunnelAddr, v3.NodeVXLANTunnelMACAddrV6},
}
