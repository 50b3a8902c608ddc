package calc

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/wire"
)

// counts is how often something is the case on a node, sorted by node.
type counts []count

type count struct {
	node nodeName
	n    int32
}

func (c counts) find(node nodeName) (int, bool) {
	name := node.String()
	return slices.BinarySearchFunc(c, name, func(x count, name string) int { return strings.Compare(x.node.String(), name) })
}

func (c counts) has(node nodeName) bool {
	_, ok := c.find(node)
	return ok
}

// add changes the count of a node and says whether it came or went.
func (c *counts) add(node nodeName, n int32) bool {
	i, ok := c.find(node)
	if !ok {
		*c = slices.Insert(*c, i, count{node, n})
		return true
	}
	if (*c)[i].n += n; (*c)[i].n == 0 {
		if *c = slices.Delete(*c, i, i+1); len(*c) == 0 {
			*c = nil
		}
		return true
	}
	return false
}

// group is what nodes need policies for: the endpoints that a selector selects, those that have a profile, or every
// node. A node that has one of them needs all the group's policies and their sets.
type group struct {
	counts   counts
	policies compact.Pointers[policy] // those of them whose group is another one are needed there
	sets     setUses
	before   map[nodeName]bool // of nodes that came or went since the last Flush, whether they were there
}

// needed goes through the policies that the group's nodes need.
func (g *group) needed(yield func(*policy) bool) {
	for p := range g.policies.All {
		if p.group == g && !yield(p) {
			return
		}
	}
}

// setUses counts, for each set, the policies of a group that use it.
type setUses struct {
	compact.Set[*sets.Set]
	again map[*sets.Set]int // number of policies beyond the first
}

// add records one more policy that uses a set, and reports whether it is the first.
func (u *setUses) add(s *sets.Set) bool {
	if !u.Has(s) {
		u.Set.Add(s)
		return true
	}
	if u.again == nil {
		u.again = map[*sets.Set]int{}
	}
	u.again[s]++
	return false
}

// remove records that one policy no longer uses a set, and reports whether it was the last.
func (u *setUses) remove(s *sets.Set) bool {
	switch n := u.again[s]; {
	case n > 1:
		u.again[s] = n - 1
	case n == 1:
		delete(u.again, s)
	default:
		u.Set.Remove(s)
		return true
	}
	return false
}

// need is one object at one node.
type need struct {
	node nodeName
	id   wire.ID
}

// noteNeed remembers whether a node needed an object, before that changes.
func (e *Engine) noteNeed(node nodeName, id wire.ID, was bool) {
	needs := e.needs
	if id.Kind == wire.KindPolicy {
		needs = e.policyNeeds
	}
	k := need{node, id}
	if _, noted := needs[k]; !noted {
		needs[k] = was
	}
}

// countNode changes how many of a group a node has.
func (e *Engine) countNode(g *group, node nodeName, n int32) {
	if !g.counts.add(node, n) {
		return
	}
	came := n > 0
	if g.before == nil {
		g.before = map[nodeName]bool{}
		e.dirtyGroups = append(e.dirtyGroups, g)
	}
	if _, noted := g.before[node]; !noted {
		g.before[node] = !came
	}
	for set := range g.sets.All {
		e.countSet(set, node, n > 0)
	}
}

// countsOf returns how many groups that use a set each node has. They are the Value of the set.
func countsOf(s *sets.Set) *counts {
	if s.Value == nil {
		s.Value = &counts{}
	}
	return s.Value.(*counts)
}

func (e *Engine) countSet(s *sets.Set, node nodeName, more bool) {
	n := int32(-1)
	if more {
		n = 1
	}
	if countsOf(s).add(node, n) {
		e.noteNeed(node, s.ID(), !more)
	}
}

// join notes that a policy is needed where its group is, or no longer.
func (e *Engine) join(p *policy, in bool) {
	g := p.group
	if in {
		for _, c := range g.counts {
			e.noteNeed(c.node, p.id(), false)
		}
		for node := range g.before {
			e.noteNeed(node, p.id(), false)
		}
	} else {
		for _, c := range g.counts {
			if was, changed := g.before[c.node]; !changed || was {
				e.noteNeed(c.node, p.id(), true)
			}
		}
		for node, was := range g.before {
			if was {
				e.noteNeed(node, p.id(), true)
			}
		}
	}
	for _, s := range p.sets {
		e.useSet(g, s, in)
	}
}

func (e *Engine) useSet(g *group, s *sets.Set, in bool) {
	change := g.sets.remove
	if in {
		change = g.sets.add
	}
	if !change(s) {
		return
	}
	for _, c := range g.counts {
		e.countSet(s, c.node, in)
	}
}

// needed reports whether a node needs an object that was noted.
func (e *Engine) needed(k need) bool {
	switch k.id.Kind {
	case wire.KindIPSet:
		s := e.sets.Find(k.id.Name)
		return s != nil && countsOf(s).has(k.node)
	case wire.KindPolicy:
		p := e.recent[k.id.Name]
		return p != nil && p.group.counts.has(k.node)
	}
	return e.interest.nodes[k.node.String()][k.id]
}

// flushNeeds adds what nodes need now and no longer to what is handed out.
func (e *Engine) flushNeeds() {
	joined := map[nodeName][]*group{}
	for _, g := range e.dirtyGroups {
		for node, was := range g.before {
			switch is := g.counts.has(node); {
			case is && !was:
				joined[node] = append(joined[node], g)
			case was && !is:
				for p := range g.needed {
					if _, noted := e.policyNeeds[need{node, p.id()}]; !noted {
						e.interest.change(node.String(), p.id(), false)
					}
				}
			}
		}
		g.before = nil
	}
	e.flushJoined(joined)
	for _, needs := range []map[need]bool{e.needs, e.policyNeeds} {
		for k, was := range needs {
			if is := e.needed(k); is != was {
				e.interest.change(k.node.String(), k.id, is)
			}
		}
	}
	e.dirtyGroups = emptied(e.dirtyGroups)
	if len(e.needs) > 0 {
		e.needs = map[need]bool{}
	}
	if len(e.policyNeeds) > 0 {
		e.policyNeeds = map[need]bool{}
	}
	if len(e.recent) > 0 {
		e.recent = map[string]*policy{}
	}
}

// flushJoined adds the policies of the groups that nodes now have an endpoint in. In a snapshot many nodes have many
// groups, and often the same: the lists are made once for each choice of groups.
func (e *Engine) flushJoined(joined map[nodeName][]*group) {
	lists := map[string][]wire.ID{}
	numbers := map[*group]uint32{}
	var key []byte
	for node, groups := range joined {
		key = key[:0]
		for _, g := range groups {
			n, ok := numbers[g]
			if !ok {
				n = uint32(len(numbers))
				numbers[g] = n
			}
			key = binary.LittleEndian.AppendUint32(key, n)
		}
		list, made := lists[string(key)]
		if !made {
			for _, g := range groups {
				for p := range g.needed {
					list = append(list, p.id())
				}
			}
			slices.SortFunc(list, compareIDs)
			lists[string(key)] = list
		}
		if len(e.policyNeeds) > 0 {
			list = slices.DeleteFunc(slices.Clone(list), func(id wire.ID) bool {
				_, noted := e.policyNeeds[need{node, id}]
				return noted
			})
		}
		if len(list) > 0 {
			e.interest.of(node.String())
			e.interest.added[node.String()] = list
		}
	}
}
