package needs

import (
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/wire"
)

// Group is what nodes need policies for: the endpoints that a selector selects, those with a profile, or every node.
// Every node with a member of the group needs all policies of the group. The zero value is an empty group.
type Group struct {
	members  counts
	policies compact.Pointers[Policy]
	sets     setUses
	// before says, of nodes that got their first member or lost their last since the last flush, whether they had one
	// before.
	before map[Node]bool
}

// Empty reports whether the group has no members and no policies.
func (g *Group) Empty() bool { return len(g.members) == 0 && g.policies.Len() == 0 }

// Policy is a policy that nodes need, or the rules of a profile.
type Policy struct {
	Name string // on the wire
	// Group has the nodes that need the policy. It must not change while the policy is in use.
	Group *Group
}

// ID returns the policy's ID on the wire.
func (p *Policy) ID() wire.ID { return wire.ID{Kind: wire.KindPolicy, Name: p.Name} }

// Set is a set that rules name.
type Set struct {
	Name  string // on the wire
	users counts // the groups with a policy that names the set, by node
}

// ID returns the set's ID on the wire.
func (s *Set) ID() wire.ID { return wire.ID{Kind: wire.KindIPSet, Name: s.Name} }

// setUses counts, for each set, the policies of a group that name it.
type setUses struct {
	sets  compact.Set[*Set]
	again map[*Set]int // number of policies beyond the first
}

// add counts one more policy that names a set, and reports whether it is the first.
func (u *setUses) add(s *Set) bool {
	if !u.sets.Has(s) {
		u.sets.Add(s)
		return true
	}
	if u.again == nil {
		u.again = map[*Set]int{}
	}
	u.again[s]++
	return false
}

// remove counts one policy less that names a set, and reports whether it was the last.
func (u *setUses) remove(s *Set) bool {
	switch n := u.again[s]; {
	case n > 1:
		u.again[s] = n - 1
	case n == 1:
		delete(u.again, s)
	default:
		u.sets.Remove(s)
		return true
	}
	return false
}
