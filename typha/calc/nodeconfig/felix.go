package nodeconfig

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// As in Calico, the FelixConfiguration default is for all nodes, node.NAME is for one node, and one with a nodeSelector
// is for the nodes that the selector selects. Of several that select a node, the oldest applies there, and of several
// of the same age the first by name.

// felixConfig is a FelixConfiguration.
type felixConfig struct {
	name     string
	age      int64 // when it was created, in Unix seconds
	config   *wire.Config
	node     string               // the node that the resource's name names, or empty
	selector *expression.Selector // nil unless it is for nodes by their labels
	reason   string               // why it, or a part of it, cannot be used
	// loses are the nodes that it selects but where an older FelixConfiguration applies, with the name of that one.
	loses map[string]string
}

// node is a node that FelixConfigurations may select.
type node struct {
	gone    bool
	labels  map[string]string
	applies string // the FelixConfiguration that applies because of the labels, or empty
}

// SetFelix adds or changes a FelixConfiguration. Changes.Problems has what is wrong with it.
func (n *Nodes) SetFelix(o *v3.FelixConfiguration) { n.changedFelix[o.Name] = felixConfigOf(o) }

// DeleteFelix removes a FelixConfiguration.
func (n *Nodes) DeleteFelix(name string) { n.changedFelix[name] = nil }

// SetNode adds a node or changes its labels.
func (n *Nodes) SetNode(name string, labels map[string]string) {
	at := n.nodes[name]
	if at == nil {
		at = &node{}
		n.nodes[name] = at
	} else if !at.gone && maps.Equal(at.labels, labels) {
		return
	}
	at.labels, at.gone = labels, false
	n.changedNodes[name] = struct{}{}
}

// DeleteNode removes a node.
func (n *Nodes) DeleteNode(name string) {
	if at := n.nodes[name]; at != nil {
		at.gone = true
		n.changedNodes[name] = struct{}{}
	}
}

func felixConfigOf(o *v3.FelixConfiguration) *felixConfig {
	values, err := settings(&o.Spec)
	c := &felixConfig{name: o.Name, age: o.CreationTimestamp.Unix(), loses: map[string]string{},
		config: &wire.Config{Values: values}}
	var reasons []string
	if err != nil {
		reasons = append(reasons, err.Error())
	}
	if reason := c.setNodes(o.Spec.NodeSelector); reason != "" {
		reasons = append(reasons, reason)
	}
	c.reason = strings.Join(reasons, "; ")
	return c
}

// setNodes finds by the name and the nodeSelector for which nodes it is. It returns what of it has no effect.
func (c *felixConfig) setNodes(nodeSelector *string) (reason string) {
	text := ""
	if nodeSelector != nil {
		text = *nodeSelector
	}
	node, ofNode := strings.CutPrefix(c.name, "node.")
	switch {
	case c.name == "default":
		c.config.Name = wire.GlobalConfig
	case ofNode && node != "":
		c.config.Name, c.node = wire.NodeConfig(node), node
	case text == "":
		return "it applies to no node: set spec.nodeSelector, or name it default or node.NAME"
	default:
		selector, err := expression.Parse(text)
		if err != nil {
			return fmt.Sprintf("it applies to no node: spec.nodeSelector: %v", err)
		}
		c.config.Name, c.selector = wire.SelectedConfig+c.name, selector
		return ""
	}
	if text != "" {
		return fmt.Sprintf("spec.nodeSelector: has no effect in the FelixConfiguration %s, "+
			"whose name says which nodes it is for", c.name)
	}
	return ""
}

// flushFelix outputs the FelixConfigurations that changed, and decides which nodes have those with a nodeSelector.
func (n *Nodes) flushFelix() {
	for name, now := range n.changedFelix {
		n.changeFelix(name, now)
	}
	clear(n.changedFelix)
	changed := map[*felixConfig]struct{}{}
	for name := range n.changedNodes {
		n.choose(name, changed)
	}
	clear(n.changedNodes)
	for c := range changed {
		n.changes.Problems[c.name] = c.problem()
	}
}

// changeFelix replaces a FelixConfiguration, or removes it with nil.
func (n *Nodes) changeFelix(name string, now *felixConfig) {
	before := n.felix[name]
	if before != nil && before.config.Name != "" && (now == nil || now.config.Name == "") {
		n.remove(before.node, before.config.ID())
	}
	for _, c := range []*felixConfig{before, now} {
		if c == nil || c.selector == nil {
			continue
		}
		for node, at := range n.nodes {
			if at.applies == name || c.selector.Matches(at.labels) {
				n.changedNodes[node] = struct{}{}
			}
		}
	}
	if now == nil {
		delete(n.felix, name)
		return
	}
	n.felix[name] = now
	if now.config.Name != "" {
		n.set(now.node, now.config)
	}
	n.changes.Problems[name] = now.reason
}

// choose decides which FelixConfiguration a node has by its labels. It adds to changed those that lose the node now,
// and those that no longer do.
func (n *Nodes) choose(name string, changed map[*felixConfig]struct{}) {
	at := n.nodes[name]
	if at == nil {
		return
	}
	var matching []*felixConfig
	for _, c := range n.felix {
		if !at.gone && c.selector != nil && c.selector.Matches(at.labels) {
			matching = append(matching, c)
		}
	}
	slices.SortFunc(matching, func(a, b *felixConfig) int {
		return cmp.Or(cmp.Compare(a.age, b.age), strings.Compare(a.name, b.name))
	})
	first := ""
	if len(matching) > 0 {
		first = matching[0].name
	}
	for _, c := range n.felix {
		loses := first != c.name && slices.Contains(matching, c)
		if former, lost := c.loses[name]; lost == loses && (!loses || former == first) {
			continue
		}
		delete(c.loses, name)
		if loses {
			c.loses[name] = first
		}
		changed[c] = struct{}{}
	}
	if at.applies != first {
		n.needSelected(name, at.applies, false)
		n.needSelected(name, first, true)
	}
	at.applies = first
	if at.gone {
		delete(n.nodes, name)
	}
}

func (n *Nodes) needSelected(node, resource string, needed bool) {
	if resource != "" {
		n.need(node, wire.ID{Kind: wire.KindConfig, Name: wire.SelectedConfig + resource}, needed)
	}
}

// mostNamed is how many nodes a reason names.
const mostNamed = 3

// problem returns what is wrong with a FelixConfiguration, and on which nodes an older one applies in its place.
func (c *felixConfig) problem() string {
	if len(c.loses) == 0 {
		return c.reason
	}
	nodes := slices.Sorted(maps.Keys(c.loses))
	named := nodes[:min(len(nodes), mostNamed)]
	parts := make([]string, len(named))
	for i, node := range named {
		parts[i] = fmt.Sprintf("%s (%s applies there)", node, c.loses[node])
	}
	text := strings.Join(parts, ", ")
	if more := len(nodes) - len(named); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	lost := "spec.nodeSelector: an older FelixConfiguration selects these nodes, too, " +
		"and applies there in place of this one: " + text
	if c.reason == "" {
		return lost
	}
	return c.reason + "; " + lost
}
