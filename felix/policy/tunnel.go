package policy

import (
	"fmt"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// TunnelGuard says which packets belong to a kind of tunnel, and between whom they may travel. It is about the packets
// outside: it belongs to the Renderer of their family.
type TunnelGuard struct {
	Name     string // of the kind, for the comments: "VXLAN"
	Protocol uint8  // IANA number of the packets outside
	Port     uint16 // that they are sent to; 0 for a protocol without ports
	Nodes    string // id of the set of the other nodes' outer addresses
}

// match matches packets of the tunnel.
func (g TunnelGuard) match() filter.Match {
	m := filter.Match{Protocol: g.Protocol}
	if g.Port != 0 {
		m.Dest = toPort(g.Port)
	}
	return m
}

// rule returns a rule about packets of the tunnel that also match what with adds. The comment has the tunnel's name in
// place of %s.
func (g TunnelGuard) rule(with func(*filter.Match), action filter.Action, comment string) filter.Rule {
	m := g.match()
	with(&m)
	return filter.Rule{Match: m, Action: action, Comment: fmt.Sprintf(comment, g.Name)}
}

// tunnelInput returns the rules for the packets of tunnels that arrive at the node: only other nodes may send them.
func (t *table) tunnelInput() []filter.Rule {
	var rules []filter.Rule
	for _, g := range t.Tunnels {
		rules = append(rules,
			g.rule(func(m *filter.Match) { m.Dest.Local, m.Source.Sets = true, []string{g.Nodes} }, filter.Accept{},
				"Allow %s packets from allowed hosts"),
			g.rule(func(m *filter.Match) { m.Dest.Local = true }, filter.Drop{},
				"Drop %s packets from non-allowed hosts"))
	}
	return rules
}

// tunnelOutput returns the rules for the packets of tunnels that the node sends. Those to other nodes always get
// through.
func (t *table) tunnelOutput() []filter.Rule {
	var rules []filter.Rule
	for _, g := range t.Tunnels {
		rules = append(rules, g.rule(func(m *filter.Match) { m.Source.Local, m.Dest.Sets = true, []string{g.Nodes} },
			filter.Accept{}, "Allow %s packets to other allowed hosts"))
	}
	return rules
}

// tunnelForward returns the rules that drop packets that this node forwards to the tunnel of another node. If this node
// translates their source, the other node would take them for packets of this node's tunnel. Only packets between two
// nodes that nobody translated are forwarded.
func (t *table) tunnelForward() []filter.Rule {
	var rules []filter.Rule
	for _, g := range t.Tunnels {
		nodes := []string{g.Nodes}
		rules = append(rules,
			g.rule(func(m *filter.Match) { m.Source.NotSets, m.Dest.Sets = nodes, nodes }, filter.Drop{},
				"Drop forwarded %s packets that are no node's"),
			g.rule(func(m *filter.Match) { m.Dest.Sets, m.State = nodes, filter.Translated }, filter.Drop{},
				"Drop packets that were translated into %s packets"))
	}
	return rules
}

// tunnelFromWorkload returns the rules that drop the packets of tunnels that workloads make.
func (t *table) tunnelFromWorkload() []filter.Rule {
	var rules []filter.Rule
	for _, g := range t.Tunnels {
		rules = append(rules, filter.Rule{Match: g.match(), Action: filter.Drop{},
			Comment: fmt.Sprintf("Drop %s encapped packets originating in workloads", g.Name)})
	}
	return rules
}

// TunnelDevice is a tunnel device of the node, and its address.
type TunnelDevice struct {
	Name string
	Addr netip.Addr
}

// tunnelSources returns the rules that give packets of the node itself the tunnel device's address. A connection of the
// node to a Service chooses its source before kube-proxy turns it to a pod behind the tunnel. The answer would take
// another way and be dropped.
func tunnelSources(devices []TunnelDevice) []filter.Rule {
	var rules []filter.Rule
	for _, d := range devices {
		own := []netip.Prefix{netip.PrefixFrom(d.Addr, d.Addr.BitLen())}
		rules = append(rules, filter.Rule{
			Match:  filter.Match{Out: filter.Interface{Name: d.Name}, Source: filter.End{Local: true, NotNets: own}},
			Action: filter.Masquerade{}})
	}
	return rules
}
