package needs

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/maneki-net/maneki/typha/wire"
)

// Tracker holds what every node needs. Make one with New. Its methods must be called from one goroutine.
type Tracker struct {
	// EveryNode is the group of all nodes: count each node in it while it exists or has an endpoint.
	EveryNode Group

	owned map[Node]map[wire.ID]struct{} // what belongs to a node by itself

	// The rest is what happened since the last flush.
	groups  []*Group          // those with nodes in Group.before
	current map[string]*Group // the policies that were added, by name, and their groups; nil: the policy was removed
	// Objects whose need may have changed, and whether they were needed at the last flush. Policies stand apart:
	// whether there are any decides how lists of policies are made.
	sets, owns, policies map[need]needed
	changes              map[Node]*Interest
}

// need is one object at one node.
type need struct {
	node Node
	id   wire.ID
}

// needed says how to find out whether a need stands, and whether it did at the last flush.
type needed struct {
	set    *Set // of a set
	before bool
}

// Interest is a change of the set of objects that one node needs. Both lists are sorted by kind, then name, and
// disjoint.
type Interest struct {
	Added   []wire.ID
	Removed []wire.ID
}

// New returns a Tracker in which no node needs anything.
func New() *Tracker {
	return &Tracker{owned: map[Node]map[wire.ID]struct{}{}, current: map[string]*Group{},
		sets: map[need]needed{}, owns: map[need]needed{}, policies: map[need]needed{}, changes: map[Node]*Interest{}}
}

// note remembers whether a need stood at the last flush. It is called before the need changes.
func note(needs map[need]needed, k need, n needed) {
	if _, noted := needs[k]; !noted {
		needs[k] = n
	}
}

// Count changes how many members of a group a node has.
func (t *Tracker) Count(g *Group, node Node, n int32) {
	if !g.members.add(node, n) {
		return
	}
	came := n > 0
	if g.before == nil {
		g.before = map[Node]bool{}
		t.groups = append(t.groups, g)
	}
	if _, noted := g.before[node]; !noted {
		g.before[node] = !came
	}
	for s := range g.sets.sets.All {
		t.countSet(s, node, came)
	}
}

// countSet counts one more group on a node that needs a set, or one less.
func (t *Tracker) countSet(s *Set, node Node, more bool) {
	n := int32(-1)
	if more {
		n = 1
	}
	if s.users.add(node, n) {
		note(t.sets, need{node, s.ID()}, needed{s, !more})
	}
}

// Add adds a policy, which is needed where its group has members, and the sets that its rules name.
func (t *Tracker) Add(p *Policy, sets iter.Seq[*Set]) {
	g := p.Group
	g.policies.Add(p)
	t.current[p.Name] = g
	for _, c := range g.members {
		note(t.policies, need{c.node, p.ID()}, needed{before: false})
	}
	for node := range g.before {
		note(t.policies, need{node, p.ID()}, needed{before: false})
	}
	t.useSets(g, sets, true)
}

// Remove removes a policy and the sets that its rules name.
func (t *Tracker) Remove(p *Policy, sets iter.Seq[*Set]) {
	g := p.Group
	g.policies.Remove(p)
	t.current[p.Name] = nil
	for _, c := range g.members {
		before, changed := g.before[c.node]
		if !changed || before {
			note(t.policies, need{c.node, p.ID()}, needed{before: true})
		}
	}
	for node, before := range g.before {
		if before {
			note(t.policies, need{node, p.ID()}, needed{before: true})
		}
	}
	t.useSets(g, sets, false)
}

// Version is a policy with the sets that its rules name.
type Version struct {
	*Policy
	Sets iter.Seq[*Set]
}

// Replace replaces a policy by one with the same name and group.
func (t *Tracker) Replace(before, now Version) {
	g := now.Group
	g.policies.Remove(before.Policy)
	g.policies.Add(now.Policy)
	t.current[now.Name] = g
	t.useSets(g, now.Sets, true)
	t.useSets(g, before.Sets, false)
}

// useSets counts that one more policy of a group names sets, or one less.
func (t *Tracker) useSets(g *Group, sets iter.Seq[*Set], more bool) {
	for s := range sets {
		change := g.sets.remove
		if more {
			change = g.sets.add
		}
		if !change(s) {
			continue
		}
		for _, c := range g.members {
			t.countSet(s, c.node, more)
		}
	}
}

// Own says whether an object belongs to a node, which then needs it. The object is neither a policy nor a set.
func (t *Tracker) Own(node Node, id wire.ID, owned bool) {
	_, before := t.owned[node][id]
	if before == owned {
		return
	}
	note(t.owns, need{node, id}, needed{before: before})
	if owned {
		if t.owned[node] == nil {
			t.owned[node] = map[wire.ID]struct{}{}
		}
		t.owned[node][id] = struct{}{}
		return
	}
	delete(t.owned[node], id)
	if len(t.owned[node]) == 0 {
		delete(t.owned, node)
	}
}

// Move is Own for an object of which the caller knows where it is: it went from one node to another one; either may be
// no node. It may be called once for an object between two flushes.
func (t *Tracker) Move(id wire.ID, from, to Node) {
	if from == to {
		return
	}
	if from.Known() {
		t.change(from, id, false)
	}
	if to.Known() {
		t.change(to, id, true)
	}
}

func (t *Tracker) change(node Node, id wire.ID, needed bool) {
	c := t.interest(node)
	if needed {
		c.Added = append(c.Added, id)
	} else {
		c.Removed = append(c.Removed, id)
	}
}

func (t *Tracker) interest(node Node) *Interest {
	c := t.changes[node]
	if c == nil {
		c = &Interest{}
		t.changes[node] = c
	}
	return c
}

// Flush returns what nodes need more and no longer since the last call, by the names of the nodes.
func (t *Tracker) Flush() map[string]Interest {
	added := t.flushGroups()
	for k, n := range t.sets {
		t.flushNeed(k, n.before, n.set.users.has(k.node))
	}
	for k, n := range t.owns {
		_, is := t.owned[k.node][k.id]
		t.flushNeed(k, n.before, is)
	}
	for k, n := range t.policies {
		g := t.current[k.id.Name]
		t.flushNeed(k, n.before, g != nil && g.members.has(k.node))
	}
	changes := make(map[string]Interest, len(t.changes))
	for node, c := range t.changes {
		slices.SortFunc(c.Added, wire.ID.Compare)
		slices.SortFunc(c.Removed, wire.ID.Compare)
		c.Added = between(c.Added, added[node])
		changes[node.String()] = *c
	}
	t.forget()
	return changes
}

func (t *Tracker) flushNeed(k need, before, now bool) {
	if before != now {
		t.change(k.node, k.id, now)
	}
}

// forget drops what happened since the last flush. It keeps maps that are empty.
func (t *Tracker) forget() {
	t.groups = nil
	for _, m := range []*map[need]needed{&t.sets, &t.owns, &t.policies} {
		if len(*m) > 0 {
			*m = map[need]needed{}
		}
	}
	if len(t.current) > 0 {
		t.current = map[string]*Group{}
	}
	if len(t.changes) > 0 {
		t.changes = map[Node]*Interest{}
	}
}

// flushGroups decides which policies nodes need because they have a first member of a group, and no longer need because
// they lost the last. It returns those that are needed, sorted, by node. Many nodes can share a list.
func (t *Tracker) flushGroups() map[Node][]wire.ID {
	joined := map[Node][]*Group{}
	for _, g := range t.groups {
		for node, before := range g.before {
			now := g.members.has(node)
			if now && !before {
				joined[node] = append(joined[node], g)
			}
			if before && !now {
				t.removeAll(g, node)
			}
		}
		g.before = nil
	}
	return t.policiesOf(joined)
}

// removeAll removes the policies of a group from what a node needs, except those whose own need changed.
func (t *Tracker) removeAll(g *Group, node Node) {
	for p := range g.policies.All {
		if _, noted := t.policies[need{node, p.ID()}]; !noted {
			t.change(node, p.ID(), false)
		}
	}
}

// policiesOf returns the policies of the groups that nodes joined, except those whose own need changed. In a snapshot
// many nodes join many groups, and often the same: the list is made once for each choice of groups.
func (t *Tracker) policiesOf(joined map[Node][]*Group) map[Node][]wire.ID {
	added := make(map[Node][]wire.ID, len(joined))
	lists := map[string][]wire.ID{}
	numbers := map[*Group]uint32{}
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
			list = policiesIn(groups)
			lists[string(key)] = list
		}
		if len(t.policies) > 0 {
			list = slices.DeleteFunc(slices.Clone(list), func(id wire.ID) bool {
				_, noted := t.policies[need{node, id}]
				return noted
			})
		}
		if len(list) > 0 {
			t.interest(node)
			added[node] = list
		}
	}
	return added
}

// policiesIn returns the policies of groups, sorted.
func policiesIn(groups []*Group) []wire.ID {
	var list []wire.ID
	for _, g := range groups {
		for p := range g.policies.All {
			list = append(list, p.ID())
		}
	}
	slices.SortFunc(list, wire.ID.Compare)
	return list
}

// between inserts sorted policies into a sorted list.
func between(list, policies []wire.ID) []wire.ID {
	if len(policies) == 0 {
		return list
	}
	first, _ := slices.BinarySearchFunc(list, wire.ID{Kind: wire.KindPolicy}, wire.ID.Compare)
	last, _ := slices.BinarySearchFunc(list, wire.ID{Kind: wire.KindPolicy + 1}, wire.ID.Compare)
	if first == last {
		return slices.Concat(list[:first], policies, list[last:])
	}
	both := slices.Concat(list[first:last], policies)
	slices.SortFunc(both, wire.ID.Compare)
	return slices.Concat(list[:first], both, list[last:])
}

// Held counts what the tracker holds, so that a test can tell that nothing is left of what went.
func (t *Tracker) Held() map[string]int {
	return map[string]int{
		"owned": len(t.owned), "every node": len(t.EveryNode.members) + t.EveryNode.policies.Len() +
			t.EveryNode.sets.sets.Len() + len(t.EveryNode.sets.again),
		"changed needs": len(t.groups) + len(t.current) + len(t.sets) + len(t.owns) + len(t.policies) + len(t.changes),
	}
}
