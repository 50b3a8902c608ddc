package policy

import (
	"net/netip"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// NAT says what is rewritten when packets leave the node.
type NAT struct {
	// Address replaces the source of what leaves the pools; invalid for the outgoing device's own.
	Address netip.Addr
	// SpareHosts also leaves alone what goes to an address of a node.
	SpareHosts bool
	// OutInterface restricts it to a device, or, with a + at the end, to those whose names begin so; empty is all.
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
	t := r.table(filter.NAT, Input{})
	post := []filter.Rule{{Action: filter.Jump{Chain: chainOutgoing}}}
	if n.Tunnel != "" && n.TunnelAddr.IsValid() {
		// A connection of the node itself to a Service chooses its source before kube-proxy turns it to a pod
		// behind the tunnel. The answer would take another way and be dropped.
		own := []netip.Prefix{netip.PrefixFrom(n.TunnelAddr, n.TunnelAddr.BitLen())}
		post = append(post, filter.Rule{
			Match:  filter.Match{Out: filter.Interface{Name: n.Tunnel}, Source: filter.End{Local: true, NotNets: own}},
			Action: filter.Masquerade{}})
	}
	m := filter.Match{Source: filter.End{Sets: []string{SetMasqPools}}, Dest: filter.End{NotSets: []string{SetAllPools}}}
	if n.SpareHosts {
		m.Dest.NotSets = append(m.Dest.NotSets, SetAllHosts)
	}
	m.Out.Name, m.Out.Prefix = strings.CutSuffix(n.OutInterface, "+")
	var action filter.Action = filter.Masquerade{}
	if n.Address.IsValid() {
		action = filter.SNAT{To: n.Address}
	}
	t.add(chainPostrouting, n, func() []filter.Rule { return post })
	t.add(chainOutgoing, n, func() []filter.Rule { return []filter.Rule{{Match: m, Action: action}} })
	t.out.Hooks = map[filter.Hook]filter.HookRules{
		filter.Postrouting: {First: []filter.Rule{{Action: filter.Jump{Chain: chainPostrouting}}}},
	}
	return t.out
}
