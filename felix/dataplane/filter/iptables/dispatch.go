package iptables

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// flat is how many interfaces one chain tells apart at most; more are divided by the next letter of their names.
const flat = 12

// dispatch is a filter.Dispatch as a tree of chains. The root has the dispatch's name. A chain of the tree tells the
// names apart that begin with a prefix: with one rule a name, or, of more than flat names, one rule a letter that
// follows what they have in common, and a chain for each letter that several names have.
//
// A change of one name changes the chains on the way to it, and no other, unless it changes what many names have in
// common.
type dispatch struct {
	filter.Dispatch
	names []string // the interfaces, sorted
}

// branch is a chain of the tree: the names[from:to] that begin with prefix.
type branch struct {
	chain    string
	prefix   string
	from, to int
}

func newDispatch(d filter.Dispatch) *dispatch {
	return &dispatch{Dispatch: d, names: slices.Sorted(maps.Keys(d.Targets))}
}

// chains returns all chains of the tree.
func (d *dispatch) chains() []filter.Chain {
	return d.subtree(d.root(), nil)
}

func (d *dispatch) root() branch { return branch{chain: d.Name, to: len(d.names)} }

// subtree appends the chains of a branch to list.
func (d *dispatch) subtree(b branch, list []filter.Chain) []filter.Chain {
	rules, children := d.rules(b)
	list = append(list, filter.Chain{Table: d.Table, Name: b.chain, Rules: rules})
	for _, child := range children {
		list = d.subtree(child, list)
	}
	return list
}

// rules returns the rules of a branch's chain, and the branches that they lead to.
func (d *dispatch) rules(b branch) (rules []filter.Rule, children []branch) {
	names := d.names[b.from:b.to]
	if len(names) <= flat {
		for _, name := range names {
			rules = append(rules, d.rule(name))
		}
		return append(rules, d.Default...), nil
	}
	common := commonPrefix(names[0], names[len(names)-1])
	for from := b.from; from < b.to; {
		letter := d.names[from][:min(common+1, len(d.names[from]))]
		to := from + 1
		if len(letter) > common {
			to = from + sort.Search(b.to-from, func(i int) bool { return !strings.HasPrefix(d.names[from+i], letter) })
		}
		if to == from+1 {
			rules = append(rules, d.rule(d.names[from]))
		} else {
			child := branch{filter.ChainName(d.Name+"-", letter[d.common():]), letter, from, to}
			match := d.Direction.Match(filter.Interface{Name: letter, Prefix: true})
			rules = append(rules, filter.Rule{Match: match, Action: filter.Goto{Chain: child.chain}})
			children = append(children, child)
		}
		from = to
	}
	return append(rules, d.Default...), children
}

// rule sends the packets of one interface to its chain.
func (d *dispatch) rule(name string) filter.Rule {
	return filter.Rule{Match: d.Direction.Match(filter.Interface{Name: name}), Action: filter.Goto{Chain: d.Targets[name]}}
}

// common returns the length of what all names begin with.
func (d *dispatch) common() int {
	if len(d.names) == 0 {
		return 0
	}
	return commonPrefix(d.names[0], d.names[len(d.names)-1])
}

// commonPrefix returns the length of what two names begin with.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
