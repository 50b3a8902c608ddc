package needs

import (
	"slices"
	"strings"
	"unique"
)

// Node is the name of a node, which exists once in memory. The zero value is no node.
type Node struct{ handle unique.Handle[string] }

// NodeNamed returns the node with a name. The empty name is no node.
func NodeNamed(name string) Node {
	if name == "" {
		return Node{}
	}
	return Node{unique.Make(name)}
}

// Known reports whether it is a node.
func (n Node) Known() bool { return n != Node{} }

// String returns the name.
func (n Node) String() string {
	if !n.Known() {
		return ""
	}
	return n.handle.Value()
}

// counts holds how often something is the case on each node, sorted by node. A count is never 0.
type counts []count

type count struct {
	node Node
	n    int32
}

func (c counts) find(node Node) (int, bool) {
	compare := func(x count, name string) int { return strings.Compare(x.node.String(), name) }
	return slices.BinarySearchFunc(c, node.String(), compare)
}

func (c counts) has(node Node) bool {
	_, ok := c.find(node)
	return ok
}

// add changes the count of a node, and reports whether it began or ceased to be 0.
func (c *counts) add(node Node, n int32) bool {
	i, ok := c.find(node)
	if !ok {
		*c = slices.Insert(*c, i, count{node, n})
		return true
	}
	(*c)[i].n += n
	if (*c)[i].n != 0 {
		return false
	}
	*c = slices.Delete(*c, i, i+1)
	if len(*c) == 0 {
		*c = nil
	}
	return true
}
