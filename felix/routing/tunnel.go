package routing

import (
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/typha/wire"
)

// Tunnel is a tunnel device that a node can have.
type Tunnel struct {
	Kind encap.Kind
	// Inner and Outer are the families of the packets inside and outside.
	Inner, Outer dataplane.Family
	Device       string // its name, as in Calico
}

// Tunnels has a row for each tunnel device that Felix can make.
var Tunnels = []Tunnel{
	{encap.VXLAN, dataplane.IPv4, dataplane.IPv4, "vxlan.calico"},
	{encap.VXLAN, dataplane.IPv6, dataplane.IPv6, "vxlan-v6.calico"},
}

// Devices returns the names of the devices of all Tunnels, with their kinds.
func Devices() map[string]encap.Kind {
	devices := map[string]encap.Kind{}
	for _, t := range Tunnels {
		devices[t.Device] = t.Kind
	}
	return devices
}

// TunnelSettings is a Tunnel with what the configuration says about it.
type TunnelSettings struct {
	Tunnel
	// ConfiguredMTU is the device's MTU in bytes; 0 derives it from the MTU of the node's network.
	ConfiguredMTU int
	Port, VNI     int // of VXLAN
}

// usedBy reports whether a pool sends packets through the tunnel.
func (t Tunnel) usedBy(p *wire.Pool) bool {
	return ofFamily(p.CIDR, t.Inner) && p.Encap(t.Kind) != wire.EncapNever
}

// makeTunnels adds the devices that a pool of the family uses, as far as the node has the addresses for them.
func (c *computation) makeTunnels() {
	for _, t := range c.Settings.Tunnels {
		if t.Inner != c.Family || !slices.ContainsFunc(c.pools, t.usedBy) {
			continue
		}
		addr, uplink := c.Self.Tunnels[t.Kind], c.Self.Uplinks[t.Outer]
		if !addr.IsValid() || !uplink.Addr.IsValid() {
			continue
		}
		device := tunnel.Device{Name: t.Device, Kind: t.Kind, Family: t.Inner, Parent: uplink.Device,
			Local: uplink.Addr.Addr(), Addr: addr, MTU: t.MTU(c.Settings.NetworkMTU), VNI: t.VNI, Port: t.Port}
		if t.Kind == encap.VXLAN {
			device.MAC = wire.TunnelMAC(c.Self.Node, uint8(t.Inner))
		}
		for _, end := range c.Endpoints {
			if end.Node != c.Self.Node && t.reaches(end) {
				device.Peers = append(device.Peers, tunnel.Peer{Addr: end.Addr, MAC: end.MAC, Outer: end.Outer})
			}
		}
		slices.SortFunc(device.Peers, func(a, b tunnel.Peer) int { return a.Addr.Compare(b.Addr) })
		c.out.Tunnels = append(c.out.Tunnels, device)
	}
}

// reaches reports whether an endpoint is the other end of such a tunnel.
func (t Tunnel) reaches(end *wire.TunnelEndpoint) bool {
	return end.Kind == t.Kind && dataplane.FamilyOf(end.Addr) == t.Inner && dataplane.FamilyOf(end.Outer) == t.Outer
}

// tunnelTo returns the device that leads through a kind of tunnel to a node, and the address of the node's end. Both
// are zero while one of the nodes has no such tunnel.
func (c *computation) tunnelTo(node string, kind encap.Kind) (device string, end netip.Addr) {
	far := c.Endpoints[wire.TunnelEndpointID(node, kind, uint8(c.Family)).Name]
	i := slices.IndexFunc(c.out.Tunnels, func(d tunnel.Device) bool { return d.Kind == kind })
	if far == nil || i < 0 || dataplane.FamilyOf(far.Outer) != dataplane.FamilyOf(c.out.Tunnels[i].Local) {
		return "", netip.Addr{}
	}
	return c.out.Tunnels[i].Name, far.Addr
}

// can reports whether Felix can make a kind of tunnel for the family.
func (c *computation) can(kind encap.Kind) bool {
	return slices.ContainsFunc(c.Settings.Tunnels, func(t TunnelSettings) bool {
		return t.Kind == kind && t.Inner == c.Family
	})
}

// isTunnel reports whether a device is one of Tunnels.
func isTunnel(device string) bool {
	return slices.ContainsFunc(Tunnels, func(t Tunnel) bool { return t.Device == device })
}
