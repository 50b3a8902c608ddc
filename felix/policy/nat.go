package policy

import (
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane/iptables"
)

// NAT says what is rewritten when packets leave the node.
type NAT struct {
	// Address replaces the source of what leaves the pools; invalid for the outgoing device's own.
	Address netip.Addr
	// SpareHosts also leaves alone what goes to an address of a node.
	SpareHosts bool
	// OutInterface restricts it to a device; empty is all.
	OutInterface string
	// Tunnel is the node's VXLAN device and TunnelAddr its address; both empty without one.
	Tunnel     string
	TunnelAddr netip.Addr
}

const (
	chainPostrouting = "cali-POSTROUTING"
	chainOutgoing    = "cali-nat-outgoing"
)

// NAT renders the nat table.
func (r *Renderer) NAT(n NAT) Table {
	t := r.table(iptables.NAT, Input{})
	post := []iptables.Rule{{Action: iptables.Jump{Chain: chainOutgoing}}}
	if n.Tunnel != "" && n.TunnelAddr.IsValid() {
		// A connection of the node itself to a Service chooses its source before kube-proxy turns it to a pod
		// behind the tunnel. The answer would take another way and be dropped.
		post = append(post, iptables.Rule{
			Match: iptables.Match(nil).OutInterface(n.Tunnel).SourceType("LOCAL").
				NotSourceNet(netip.PrefixFrom(n.TunnelAddr, n.TunnelAddr.BitLen())),
			Action: iptables.Masquerade{RandomFully: true}})
	}
	m := iptables.Match(nil).SourceSet(r.set(SetMasqPools)).NotDestSet(r.set(SetAllPools))
	if n.SpareHosts {
		m = m.NotDestSet(r.set(SetAllHosts))
	}
	if n.OutInterface != "" {
		m = m.OutInterface(n.OutInterface)
	}
	var action iptables.Action = iptables.Masquerade{RandomFully: true}
	if n.Address.IsValid() {
		action = iptables.SNAT{To: n.Address, RandomFully: true}
	}
	t.add(chainPostrouting, n, func() []iptables.Rule { return post })
	t.add(chainOutgoing, n, func() []iptables.Rule { return []iptables.Rule{{Match: m, Action: action}} })
	t.out.Hooks = map[string]iptables.Hooks{
		"POSTROUTING": {Insert: []iptables.Rule{{Action: iptables.Jump{Chain: chainPostrouting}}}},
	}
	return t.out
}
