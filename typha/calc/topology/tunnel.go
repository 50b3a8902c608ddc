package topology

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/owner"
	"github.com/maneki-net/maneki/typha/wire"
)

// tunnels holds the ends of tunnels that Nodes name in their annotations. IPAM decides who owns an address. A node that
// names the address of another node's tunnel, or of a pod, would otherwise attract packets of others.
type tunnels struct {
	nodes map[string]*tunnelNode
	named map[netip.Addr][]string // the nodes that name an address; no list is empty
}

// tunnelNode is a node with the ends that it names, at most one per kind and family.
type tunnelNode struct {
	node   Node
	reason string // what else is wrong with the node's resource
	ends   []*wire.TunnelEndpoint
}

func newTunnels() tunnels {
	return tunnels{nodes: map[string]*tunnelNode{}, named: map[netip.Addr][]string{}}
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

// set stores the ends that a node names.
func (s *tunnels) set(n *tunnelNode) {
	s.remove(n.node.Name)
	s.nodes[n.node.Name] = n
	for _, end := range n.ends {
		s.named[end.Addr] = append(s.named[end.Addr], n.node.Name)
	}
}

// remove removes the ends that a node named.
func (s *tunnels) remove(name string) {
	n := s.nodes[name]
	if n == nil {
		return
	}
	delete(s.nodes, name)
	for _, end := range n.ends {
		others := compact.Without(s.named[end.Addr], name)
		if len(others) == 0 {
			delete(s.named, end.Addr)
		} else {
			s.named[end.Addr] = others
		}
	}
}

// tunnelChanged makes Flush decide again on the nodes that name an address as their end of a tunnel.
func (t *Topology) tunnelChanged(addr netip.Addr) {
	for _, name := range t.tunnels.named[addr] {
		t.changedTunnels[name] = struct{}{}
	}
}

// decideTunnels outputs the ends of a node that IPAM does not contradict.
func (t *Topology) decideTunnels(name string) {
	used := map[wire.ID]bool{}
	n := t.tunnels.nodes[name]
	if n != nil {
		var reasons []string
		if n.reason != "" {
			reasons = append(reasons, n.reason)
		}
		for _, end := range n.ends {
			allocation, allocated := t.owners.Allocation(end.Addr)
			other := otherOwner(allocation, name)
			if allocated && other != "" {
				reasons = append(reasons, fmt.Sprintf("tunnel address %s: IPAM gave it to %s, so it is not used",
					end.Addr, other))
				continue
			}
			t.set(end)
			used[end.ID()] = true
		}
		t.changes.Nodes[n.node] = strings.Join(reasons, "; ")
	}
	for _, a := range derive.TunnelAnnotations {
		id := wire.TunnelEndpointID(name, a.Kind, a.Family)
		if !used[id] {
			t.remove(id)
		}
	}
}

// otherOwner returns to whom an address is allocated, if that is not the node itself.
func otherOwner(a owner.Allocation, node string) string {
	switch {
	case a.Pod != owner.Name{}:
		return "a pod"
	case a.Node != "" && a.Node != node:
		return "node " + a.Node
	}
	return ""
}
