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
	// without is the index in names of one that does not count; -1 is none.
	without int
}

// branch is a chain of the tree: the names[from:to] that begin with prefix.
type branch struct {
	chain    string
	prefix   string
	from, to int
}

func newDispatch(d filter.Dispatch) *dispatch {
	return &dispatch{Dispatch: d, names: slices.Sorted(maps.Keys(d.Targets)), without: -1}
}

// chains returns all chains of the tree.
func (d *dispatch) chains() []filter.Chain {
	return d.subtree(d.root(), nil)
}

func (d *dispatch) root() branch { return branch{chain: d.Name, to: d.size()} }

// size returns how many names there are.
func (d *dispatch) size() int {
	if d.without < 0 {
		return len(d.names)
	}
	return len(d.names) - 1
}

// at returns a name by its place among those that count.
func (d *dispatch) at(i int) string {
	if d.without >= 0 && i >= d.without {
		i++
	}
	if i < 0 || i >= len(d.names) {
		return ""
	}
	return d.names[i]
}

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
	if b.to-b.from <= flat {
		for i := b.from; i < b.to; i++ {
			rules = append(rules, d.rule(d.at(i)))
		}
		return append(rules, d.Default...), nil
	}
	common := commonPrefix(d.at(b.from), d.at(b.to-1))
	for from := b.from; from < b.to; {
		name := d.at(from)
		letter := name[:min(common+1, len(name))]
		to := from + 1
		if len(letter) > common {
			to = from + sort.Search(b.to-from, func(i int) bool { return !strings.HasPrefix(d.at(from+i), letter) })
		}
		if to == from+1 {
			rules = append(rules, d.rule(name))
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
	match := d.Direction.Match(filter.Interface{Name: name})
	return filter.Rule{Match: match, Action: filter.Goto{Chain: d.Targets[name]}}
}

// common returns the length of what all names begin with.
func (d *dispatch) common() int {
	return commonPrefix(d.at(0), d.at(d.size()-1))
}

// commonPrefix returns the length of what two names begin with.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// change makes a change of one target, and returns the chains that it changes and the names of those that go.
func (d *dispatch) change(name, chain string) (changed []filter.Chain, gone []string) {
	at, known := slices.BinarySearch(d.names, name)
	if d.Targets[name] == chain {
		return nil, nil
	}
	former := *d
	switch {
	case chain == "": // names are never copied: there may be many
		d.without = at
		changed, gone = d.difference(&former, former.root(), d.root(), name)
		d.names, d.without = slices.Delete(d.names, at, at+1), -1
		delete(d.Targets, name)
		return changed, gone
	case !known:
		d.names = slices.Insert(d.names, at, name)
		former.names, former.without = d.names, at
	}
	d.Targets[name] = chain
	return d.difference(&former, former.root(), d.root(), name)
}

// difference returns what changes in a branch of the former tree that becomes a branch of d, with one name more or
// less.
func (d *dispatch) difference(former *dispatch, from, to branch, name string) (changed []filter.Chain, gone []string) {
	common := commonPrefix(d.at(to.from), d.at(to.to-1))
	if from.to-from.from <= flat || to.to-to.from <= flat ||
		common != commonPrefix(former.at(from.from), former.at(from.to-1)) || former.common() != d.common() {
		changed = d.subtree(to, nil)
		for _, c := range former.subtree(from, nil) {
			if !slices.ContainsFunc(changed, func(n filter.Chain) bool { return n.Name == c.Name }) {
				gone = append(gone, c.Name)
			}
		}
		return changed, gone
	}
	old, now := former.child(from, common, name), d.child(to, common, name)
	oldSize, size := old.to-old.from, now.to-now.from
	if size < 2 || oldSize < 2 { // otherwise the rule that leads there stays
		rules, _ := d.rules(to)
		changed = append(changed, filter.Chain{Table: d.Table, Name: to.chain, Rules: rules})
	}
	switch {
	case size > 1 && oldSize > 1:
		more, less := d.difference(former, old, now, name)
		return append(changed, more...), append(gone, less...)
	case size > 1:
		changed = d.subtree(now, changed)
	case oldSize > 1:
		for _, c := range former.subtree(old, nil) {
			gone = append(gone, c.Name)
		}
	}
	return changed, gone
}

// child returns the branch of a name below one whose names have common letters in common. It may have one name or none,
// and then has no chain.
func (d *dispatch) child(b branch, common int, name string) branch {
	letter := name[:min(common+1, len(name))]
	from := b.from + sort.Search(b.to-b.from, func(i int) bool { return d.at(b.from+i) >= letter })
	to := from
	if len(letter) > common {
		to += sort.Search(b.to-from, func(i int) bool { return !strings.HasPrefix(d.at(from+i), letter) })
	} else if from < b.to && d.at(from) == name {
		to++
	}
	return branch{filter.ChainName(d.Name+"-", letter[min(d.common(), len(letter)):]), letter, from, to}
}
