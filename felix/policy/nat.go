package policy

import (
	"fmt"
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
	// Tunnels are the node's tunnel devices for packets of the family.
	Tunnels []TunnelDevice
}

const (
	chainPostrouting = "cali-POSTROUTING"
	chainOutgoing    = "cali-nat-outgoing"
)

// NAT renders the nat table.
func (r *Renderer) NAT(n NAT) Table {
	t := r.table(filter.NAT, Input{})
	m := filter.Match{Source: filter.End{Sets: []string{SetMasqPools}}, Dest: filter.End{NotSets: []string{SetAllPools}}}
	if n.SpareHosts {
		m.Dest.NotSets = append(m.Dest.NotSets, SetAllHosts)
	}
	m.Out.Name, m.Out.Prefix = strings.CutSuffix(n.OutInterface, "+")
	var action filter.Action = filter.Masquerade{}
	if n.Address.IsValid() {
		action = filter.SNAT{To: n.Address}
	}
	t.add(chainPostrouting, fmt.Sprint(n.Tunnels), func() []filter.Rule {
		return append([]filter.Rule{{Action: filter.Jump{Chain: chainOutgoing}}}, tunnelSources(n.Tunnels)...)
	})
	outgoing := fmt.Sprint(n.Address, n.SpareHosts, n.OutInterface)
	t.add(chainOutgoing, outgoing, func() []filter.Rule { return []filter.Rule{{Match: m, Action: action}} })
	t.out.Hooks = map[filter.Hook]filter.HookRules{
		filter.Postrouting: {First: []filter.Rule{{Action: filter.Jump{Chain: chainPostrouting}}}},
	}
	return t.out
}
