package calc

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/wire"
)

// tunnels are the ends of VXLAN tunnels, as Nodes name them. IPAM decides who owns an address. A node that names the
// address of another node's tunnel, or of a pod, would otherwise attract packets of others.
type tunnels struct {
	nodes map[string]*tunnelNode
	named map[netip.Addr][]*tunnelNode // the nodes that name an address
}

// tunnelNode is a node with the ends that it names, at most one per family.
type tunnelNode struct {
	kind, name string
	reason     string // what else is wrong with the Node
	ends       []*wire.VTEP
}

func newTunnels() tunnels {
	return tunnels{nodes: map[string]*tunnelNode{}, named: map[netip.Addr][]*tunnelNode{}}
}

// tunnelEnds returns the ends that a Node names. Each needs the tunnel's and the node's address.
func tunnelEnds(o *corev1.Node, h *wire.Host) (ends []*wire.VTEP) {
	for _, f := range []struct {
		family     uint8
		annotation string
		parent     netip.Addr
	}{{4, v3.NodeIPv4VXLANTunnelAddr, h.IPv4.Addr()}, {6, v3.NodeIPv6VXLANTunnelAddr, h.IPv6.Addr()}} {
		tunnel, err := netip.ParseAddr(o.Annotations[f.annotation])
		if err != nil || !f.parent.IsValid() || tunnel.Is4() != f.parent.Is4() {
			continue
		}
		// The MAC address is derived, not read from the Node: that of another node would attract the other node's
		// packets.
		mac := wire.TunnelMAC(o.Name, f.family)
		ends = append(ends, &wire.VTEP{Node: o.Name, Tunnel: tunnel, MAC: mac, Parent: f.parent})
	}
	return ends
}

// setTunnels stores the ends that a Node names, and decides on them.
func (e *Engine) setTunnels(n *tunnelNode) {
	e.forgetTunnels(n.name)
	e.tunnels.nodes[n.name] = n
	for _, end := range n.ends {
		e.tunnels.named[end.Tunnel] = append(e.tunnels.named[end.Tunnel], n)
	}
	e.decideTunnels(n)
}

// forgetTunnels removes the ends that a Node named. Objects stay until decideTunnels or removeTunnels.
func (e *Engine) forgetTunnels(name string) {
	n := e.tunnels.nodes[name]
	if n == nil {
		return
	}
	delete(e.tunnels.nodes, name)
	for _, end := range n.ends {
		others := compact.Without(e.tunnels.named[end.Tunnel], n)
		if len(others) == 0 {
			delete(e.tunnels.named, end.Tunnel)
		} else {
			e.tunnels.named[end.Tunnel] = others
		}
	}
}

func (e *Engine) removeTunnels(name string) {
	e.forgetTunnels(name)
	for _, family := range []uint8{4, 6} {
		e.out.remove(wire.VTEPID(name, family))
	}
}

// decideTunnels hands out the ends of a node that IPAM does not contradict.
func (e *Engine) decideTunnels(n *tunnelNode) {
	believed := map[wire.ID]bool{}
	reasons := []string{}
	if n.reason != "" {
		reasons = append(reasons, n.reason)
	}
	for _, end := range n.ends {
		owner, allocated, _ := e.addresses.attributed(end.Tunnel)
		whose := ""
		switch {
		case allocated && owner.pod != nil:
			whose = "a pod"
		case allocated && owner.node.known() && owner.node != nodeNamed(n.name):
			whose = "node " + owner.node.String()
		}
		if whose != "" {
			reasons = append(reasons, fmt.Sprintf("tunnel address %s: IPAM gave it to %s, so it is not used", end.Tunnel, whose))
			continue
		}
		e.out.set(end)
		believed[end.ID()] = true
	}
	for _, family := range []uint8{4, 6} {
		if id := wire.VTEPID(n.name, family); !believed[id] {
			e.out.remove(id)
		}
	}
	e.problems.set(n.kind, "", n.name, strings.Join(reasons, "; "))
}
