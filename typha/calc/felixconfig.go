package calc

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

// felixConfigs are the FelixConfigurations and the nodes that they may select. As in Calico, the resource default is
// for all nodes, node.NAME is for one, and one with a nodeSelector is for the nodes that the selector matches. Of
// several that select a node, the oldest applies there, and of several of the same age the first by name.
type felixConfigs struct {
	stored map[string]*felixConfig // by the resource's name
	nodes  map[string]*felixNode   // by the node's name
	// changed are the resources since the last Flush, nil for one that is gone, and dirty the nodes that have to choose
	// again.
	changed map[string]*felixConfig
	dirty   map[string]struct{}
}

// felixConfig is a FelixConfiguration.
type felixConfig struct {
	name   string
	age    int64 // when it was created, in Unix seconds
	config *wire.Config
	node   string // the node that it is for by its name
	// selector is nil unless it is for nodes by their labels.
	selector *expression.Selector
	reason   string // why it, or a part of it, cannot be used
	// loses are the nodes that it selects and where an older one applies, with that one's name.
	loses map[string]string
}

// felixNode is a node with its labels and the Config that it has because of them.
type felixNode struct {
	labels  map[string]string
	applies string // the resource's name, or empty
}

func newFelixConfigs() felixConfigs {
	return felixConfigs{stored: map[string]*felixConfig{}, nodes: map[string]*felixNode{},
		changed: map[string]*felixConfig{}, dirty: map[string]struct{}{}}
}

func (f *felixConfigs) set(o *v3.FelixConfiguration) { f.changed[o.Name] = felixConfigOf(o) }

func (f *felixConfigs) remove(name string) { f.changed[name] = nil }

func (f *felixConfigs) setNode(name string, labels map[string]string) {
	n := f.nodes[name]
	if n == nil {
		n = &felixNode{}
		f.nodes[name] = n
	} else if maps.Equal(n.labels, labels) {
		return
	}
	n.labels = labels
	f.dirty[name] = struct{}{}
}

func (f *felixConfigs) removeNode(name string) { f.dirty[name] = struct{}{} }

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

// setNodes decides by the name and the nodeSelector which nodes it is for. The result says what has no effect.
func (c *felixConfig) setNodes(nodeSelector *string) (reason string) {
	text := ""
	if nodeSelector != nil {
		text = *nodeSelector
	}
	node, ofNode := strings.CutPrefix(c.name, "node.")
	switch {
	case c.name == "default":
		c.config.Name = GlobalConfig
	case ofNode && node != "":
		c.config.Name, c.node = NodeConfig(node), node
	case text == "":
		return "it applies to no node: set spec.nodeSelector, or name it default or node.NAME"
	default:
		selector, err := expression.Parse(text)
		if err != nil {
			return fmt.Sprintf("it applies to no node: spec.nodeSelector: %v", err)
		}
		c.config.Name, c.selector = SelectedConfig+c.name, selector
		return ""
	}
	if text != "" {
		return fmt.Sprintf("spec.nodeSelector: has no effect in the FelixConfiguration %s, "+
			"whose name says which nodes it is for", c.name)
	}
	return ""
}

// flushFelix hands out the FelixConfigurations that changed, and decides which nodes have those with a nodeSelector.
func (e *Engine) flushFelix() {
	f := &e.felix
	for name, now := range f.changed {
		e.changeFelix(name, now)
	}
	clear(f.changed)
	retold := map[*felixConfig]struct{}{}
	for name := range f.dirty {
		e.chooseFelix(name, retold)
	}
	clear(f.dirty)
	for c := range retold {
		e.problems.set(KindFelixConfiguration, "", c.name, joined(c.reason, c.lost()))
	}
}

func (e *Engine) changeFelix(name string, now *felixConfig) {
	f, before := &e.felix, e.felix.stored[name]
	if before != nil && before.config.Name != "" && (now == nil || now.config.Name == "") {
		e.removeNodeObject(before.node, before.config.ID())
	}
	for _, c := range []*felixConfig{before, now} {
		if c == nil || c.selector == nil {
			continue
		}
		for node, n := range f.nodes {
			if n.applies == name || c.selector.Matches(n.labels) {
				f.dirty[node] = struct{}{}
			}
		}
	}
	if now == nil {
		delete(f.stored, name)
		return
	}
	f.stored[name] = now
	if now.config.Name != "" {
		e.setNodeObject(now.node, now.config)
	}
	e.problems.set(KindFelixConfiguration, "", name, now.reason)
}

// chooseFelix decides which FelixConfiguration a node has by its labels. It adds to retold those that lose a node, or
// no longer lose it.
func (e *Engine) chooseFelix(node string, retold map[*felixConfig]struct{}) {
	f, n := &e.felix, e.felix.nodes[node]
	if n == nil {
		return
	}
	var matching []*felixConfig
	gone := !e.network.topology.HasNode(node)
	for _, c := range f.stored {
		if !gone && c.selector != nil && c.selector.Matches(n.labels) {
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
	for _, c := range f.stored {
		loses := first != c.name && slices.Contains(matching, c)
		if former, lost := c.loses[node]; lost == loses && (!loses || former == first) {
			continue
		}
		delete(c.loses, node)
		if loses {
			c.loses[node] = first
		}
		retold[c] = struct{}{}
	}
	if n.applies != first {
		e.ownSelected(node, n.applies, false)
		e.ownSelected(node, first, true)
	}
	if n.applies = first; gone {
		delete(f.nodes, node)
	}
}

func (e *Engine) ownSelected(node, resource string, owned bool) {
	if resource != "" {
		e.own(node, wire.ID{Kind: wire.KindConfig, Name: SelectedConfig + resource}, owned)
	}
}

// mostNamed is how many nodes a reason names.
const mostNamed = 3

// lost says on which nodes it has no effect because an older one selects them, too.
func (c *felixConfig) lost() string {
	if len(c.loses) == 0 {
		return ""
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
	return "spec.nodeSelector: an older FelixConfiguration selects these nodes, too, " +
		"and applies there in place of this one: " + text
}
