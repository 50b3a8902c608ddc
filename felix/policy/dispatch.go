package policy

import (
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane/iptables"
)

// flat is how many interfaces one chain tells apart at most; more are divided by the next letter of their names.
const flat = 12

// dispatch adds the chains that send a packet to its endpoint's. The goto makes their return that of the dispatch
// chain, past its end, where what belongs to no endpoint is dropped.
func (t *table) dispatch(endpoints []Endpoint) {
	t.dispatchFrom(endpoints)
	names, common := interfaces(endpoints)
	t.divide(division{chainTo, common, prefixToWorkload, iptables.Match.OutInterface}, chainTo, names)
}

// dispatchFrom adds those of packets from endpoints.
func (t *table) dispatchFrom(endpoints []Endpoint) {
	names, common := interfaces(endpoints)
	t.divide(division{chainFrom, common, prefixFromWorkload, iptables.Match.InInterface}, chainFrom, names)
}

// interfaces returns the sorted names of the endpoints' interfaces, and the length of their common prefix.
func interfaces(endpoints []Endpoint) (names []string, common int) {
	for _, e := range endpoints {
		names = append(names, e.Interface)
	}
	slices.Sort(names)
	if len(names) > 0 {
		common = commonPrefix(names[0], names[len(names)-1])
	}
	return names, common
}

// division is a tree of dispatch chains.
type division struct {
	root   string // the chain that is asked first
	common int    // length of what all names begin with
	target string // begins the names of the endpoints' chains
	match  func(iptables.Match, string) iptables.Match
}

func (d division) rule(name string) iptables.Rule {
	return iptables.Rule{Match: d.match(nil, name), Action: iptables.Goto{Chain: d.target + name}}
}

// divide adds the chain that tells the sorted names apart: one rule a name, or, of many, one a letter that follows what
// they have in common, with a chain for each.
func (t *table) divide(d division, chain string, names []string) {
	var rules []iptables.Rule
	if len(names) <= flat {
		for _, name := range names {
			rules = append(rules, d.rule(name))
		}
		names = nil
	}
	common := 0
	if len(names) > 0 {
		common = commonPrefix(names[0], names[len(names)-1])
	}
	for len(names) > 0 {
		letter := names[0][:min(common+1, len(names[0]))]
		n := 1
		for n < len(names) && len(letter) > common && strings.HasPrefix(names[n], letter) {
			n++
		}
		if n == 1 {
			rules = append(rules, d.rule(names[0]))
		} else {
			child := named(d.root+"-", letter[d.common:])
			rules = append(rules, iptables.Rule{Match: d.match(nil, letter+"+"), Action: iptables.Goto{Chain: child}})
			t.divide(d, child, names[:n])
		}
		names = names[n:]
	}
	rules = append(rules, iptables.Rule{Action: iptables.Drop{}, Comment: "Unknown interface"})
	t.add(chain, matchKey(rules), func() []iptables.Rule { return rules })
}

// matchKey makes a Key of rules of divide.
func matchKey(rules []iptables.Rule) string {
	var key strings.Builder
	for _, r := range rules {
		key.WriteString(strings.Join(r.Match, " "))
		key.WriteByte('\n')
	}
	return key.String()
}

// commonPrefix returns the length of what two names begin with.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
