package routing

import (
	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/typha/wire"
)

// headers has what each kind adds to a packet, in bytes, besides the outer IP header.
var headers = map[encap.Kind]int{
	encap.VXLAN:     8 + 8 + 14, // UDP, VXLAN (RFC 7348), the inner Ethernet header
	encap.IPIP:      0,          // RFC 2003
	encap.WireGuard: 8 + 32,     // UDP, WireGuard's message header and authentication tag
}

// ipHeader is the length of an IP header of a family without options, in bytes.
func ipHeader(f dataplane.Family) int {
	if f == dataplane.IPv6 {
		return 40
	}
	return 20
}

// Overhead returns by how many bytes a packet grows in the tunnel.
func (t Tunnel) Overhead() int { return ipHeader(t.Outer) + headers[t.Kind] }

// MTU returns the device's MTU in bytes, given that of the node's network. 0 leaves it to the kernel.
func (t TunnelSettings) MTU(network int) int {
	if t.ConfiguredMTU == 0 && network > 0 {
		return network - t.Overhead()
	}
	return t.ConfiguredMTU
}

// PodMTU returns the size in bytes of the largest packet that every way out of a pod can carry, given the MTU of the
// node's network; 0 if it is not known.
func PodMTU(network int, tunnels []TunnelSettings, pools map[string]*wire.Pool) int {
	mtu := network
	for _, t := range tunnels {
		for _, pool := range pools {
			if m := t.MTU(network); t.usedBy(pool) && m > 0 && (mtu == 0 || m < mtu) {
				mtu = m
			}
		}
	}
	return mtu
}
