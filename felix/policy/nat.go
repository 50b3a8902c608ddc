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
	// Tunnels are the node's tunnel devices for packets of the family.
	Tunnels []TunnelDevice
}

const (
	chainPostrouting = "cali-POSTROUTING"
	chainOutgoing    = "cali-nat-outgoing"
)

// nat renders the nat table.
func (t *table) nat(n NAT) {
	var m filter.Match
	m.Source.Sets, m.Dest.NotSets = []string{SetMasqPools}, []string{SetAllPools}
	if n.SpareHosts {
		m.Dest.NotSets = append(m.Dest.NotSets, SetAllHosts)
	}
	m.Out.Name, m.Out.Prefix = strings.CutSuffix(n.OutInterface, "+")
	var action filter.Action = filter.Masquerade{}
	if n.Address.IsValid() {
		action = filter.SNAT{To: n.Address}
	}
	jump := []filter.Rule{{Action: filter.Jump{Chain: chainOutgoing}}}
	t.add(chainPostrouting, append(jump, tunnelSources(n.Tunnels)...))
	t.add(chainOutgoing, []filter.Rule{{Match: m, Action: action}})
	t.hooks[filter.Postrouting] = filter.HookRules{First: []filter.Rule{{Action: filter.Jump{Chain: chainPostrouting}}}}
}
