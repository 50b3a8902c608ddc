package effects

import (
	"slices"
	"strings"
)

// node is a field of a kind, with the fields within it.
type node struct {
	row    Row
	fields map[string]*node
	items  *node // of a list
	values *node // of a map
	// incomplete is set if the field, or one within it, has no effect; lacks are the names of such fields within it.
	incomplete bool
	lacks      []string
}

// add adds a field by its path, for example spec.ingress[].http. Fields come in the order of their paths.
func (n *node) add(path string, row Row) {
	at := n
	for name := range strings.SplitSeq(strings.NewReplacer("[]", ".[]", "{}", ".{}").Replace(path), ".") {
		at.incomplete = at.incomplete || row.State != Works
		at = at.child(name, row.State != Works)
	}
	at.row = row
	at.incomplete = at.incomplete || row.State != Works
}

func (n *node) child(name string, incomplete bool) *node {
	place := func(at **node) *node {
		if *at == nil {
			*at = &node{}
		}
		return *at
	}
	switch name {
	case "[]":
		return place(&n.items)
	case "{}":
		return place(&n.values)
	}
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	if n.fields[name] == nil {
		n.fields[name] = &node{}
	}
	if incomplete && !slices.Contains(n.lacks, name) {
		n.lacks = append(n.lacks, name)
	}
	return n.fields[name]
}
