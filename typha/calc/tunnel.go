package calc

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/wire"
)

// tunnels holds the ends of tunnels that Nodes name in their annotations. IPAM decides who owns an address. A node that
// names the address of another node's tunnel, or of a pod, would otherwise attract packets of others.
type tunnels struct {
	nodes map[string]*tunnelNode
	named map[netip.Addr][]*tunnelNode // the nodes that name an address
}

// tunnelNode is a node with the ends that it names, at most one per kind and family.
type tunnelNode struct {
	kind, name string
	reason     string // what else is wrong with the Node
	ends       []*wire.TunnelEndpoint
}

func newTunnels() tunnels {
	return tunnels{nodes: map[string]*tunnelNode{}, named: map[netip.Addr][]*tunnelNode{}}
}

// tunnelEnds returns the ends that a Node names. Each needs the tunnel's and the node's address.
func tunnelEnds(o *corev1.Node, h *wire.Host) (ends []*wire.TunnelEndpoint) {
	for _, a := range derive.TunnelAnnotations {
		outer := h.IPv4.Addr()
		if a.Family == 6 {
			outer = h.IPv6.Addr()
		}
		addr, err := netip.ParseAddr(o.Annotations[a.Address])
		if err != nil || !outer.IsValid() || addr.Is4() != outer.Is4() {
			continue
		}
		end := &wire.TunnelEndpoint{Node: o.Name, Kind: a.Kind, Addr: addr, Outer: outer}
		if a.MAC != "" {
			// The MAC address is derived, not read from the Node. A node that names another node's MAC address would
			// otherwise attract that node's packets.
			end.MAC = wire.TunnelMAC(o.Name, a.Family)
		}
		ends = append(ends, end)
	}
	return ends
}

// setTunnels stores the ends that a Node names, and decides on them.
func (e *Engine) setTunnels(n *tunnelNode) {
	e.forgetTunnels(n.name)
	e.tunnels.nodes[n.name] = n
	for _, end := range n.ends {
		e.tunnels.named[end.Addr] = append(e.tunnels.named[end.Addr], n)
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
		others := compact.Without(e.tunnels.named[end.Addr], n)
		if len(others) == 0 {
			delete(e.tunnels.named, end.Addr)
		} else {
			e.tunnels.named[end.Addr] = others
		}
	}
}

func (e *Engine) removeTunnels(name string) {
	e.forgetTunnels(name)
	for _, a := range derive.TunnelAnnotations {
		e.out.remove(wire.TunnelEndpointID(name, a.Kind, a.Family))
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
		owner, allocated, _ := e.addresses.attributed(end.Addr)
		whose := ""
		switch {
		case allocated && owner.pod != nil:
			whose = "a pod"
		case allocated && owner.node.known() && owner.node != nodeNamed(n.name):
			whose = "node " + owner.node.String()
		}
		if whose != "" {
			reasons = append(reasons, fmt.Sprintf("tunnel address %s: IPAM gave it to %s, so it is not used", end.Addr, whose))
			continue
		}
		e.out.set(end)
		believed[end.ID()] = true
	}
	for _, a := range derive.TunnelAnnotations {
		if id := wire.TunnelEndpointID(n.name, a.Kind, a.Family); !believed[id] {
			e.out.remove(id)
		}
	}
	e.problems.set(n.kind, "", n.name, strings.Join(reasons, "; "))
}
