package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// Room is how many sets of policies, with how many members, fit into a node's kernel.
type Room struct{ Sets, Members int }

// Holds reports whether other fits into r.
func (r Room) Holds(other Room) bool { return other.Sets <= r.Sets && other.Members <= r.Members }

func (r Room) less(other Room) Room { return Room{r.Sets - other.Sets, r.Members - other.Members} }

func (r Room) share(of int) Room { return Room{r.Sets / of, r.Members / of} }

// Allot returns the sets that the kernel has no room for, by name, with the reason. sizes has the number of members of
// each set. Policies without a namespace come first, because they belong to an administrator. The rest of the room is
// divided equally among the namespaces. What a namespace does not need is left to the others; namespaces that need
// little come first. In a namespace that needs more than its share, the policies that fit, in the order of their names,
// get their sets. A set that several policies name counts once.
func Allot(policies map[string]*wire.Policy, sizes map[string]int, room Room) map[string]error {
	all := Room{}
	for _, size := range sizes {
		all.Sets, all.Members = all.Sets+1, all.Members+size
	}
	if room.Holds(all) {
		return nil
	}
	a := allotment{sizes: sizes, has: map[string]bool{}, refused: map[string]error{}}
	byNamespace := map[string][]*wire.Policy{}
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		ns := namespaceOf(name)
		byNamespace[ns] = append(byNamespace[ns], policies[name])
	}
	room = room.less(a.allot(byNamespace[""], room))
	delete(byNamespace, "")
	needs := map[string]Room{}
	for ns, list := range byNamespace {
		needs[ns] = a.need(list)
	}
	names := slices.SortedFunc(maps.Keys(needs), func(x, y string) int {
		return cmp.Or(
			cmp.Compare(needs[x].Sets, needs[y].Sets), cmp.Compare(needs[x].Members, needs[y].Members),
			strings.Compare(x, y))
	})
	for i, ns := range names {
		room = room.less(a.allot(byNamespace[ns], room.share(len(names)-i)))
	}
	for _, ns := range names { // a share may leave room that no policy of its namespace fits into
		room = room.less(a.allot(byNamespace[ns], room))
	}
	for name := range a.has {
		delete(a.refused, name)
	}
	return a.refused
}

// namespaceOf returns the namespace of a policy from its name on the wire, "<kind>.<tier>/<namespace>/<name>". It is
// empty if the policy has none.
func namespaceOf(policy string) string {
	if parts := strings.Split(policy, "/"); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// allotment is what Allot has decided so far.
type allotment struct {
	sizes   map[string]int
	has     map[string]bool  // sets that have room
	refused map[string]error // sets that a policy was refused; another policy may have got them
}

// need returns the room that policies need.
func (a *allotment) need(policies []*wire.Policy) Room {
	all, seen := Room{}, map[string]bool{}
	for _, p := range policies {
		for _, set := range a.sets(p) {
			if !seen[set] {
				seen[set] = true
				all.Sets, all.Members = all.Sets+1, all.Members+a.sizes[set]
			}
		}
	}
	return all
}

// sets returns the existing sets of a policy that have no room yet, each once.
func (a *allotment) sets(p *wire.Policy) []string {
	var list []string
	for _, rule := range slices.Concat(p.Ingress, p.Egress) {
		for _, end := range [...]wire.Match{rule.Src, rule.Dst} {
			list = append(append(append(append(list, end.Sets...), end.NotSets...), end.PortSets...),
				end.NotPortSets...)
		}
	}
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(set string) bool {
		_, is := a.sizes[set]
		return !is || a.has[set]
	})
}

// allot gives room to the sets of the policies that fit, and returns the room that they take.
func (a *allotment) allot(policies []*wire.Policy, room Room) (taken Room) {
	for _, p := range policies {
		sets := a.sets(p)
		cost := Room{Sets: len(sets)}
		for _, set := range sets {
			cost.Members += a.sizes[set]
		}
		if room.less(taken).Holds(cost) {
			taken = Room{taken.Sets + cost.Sets, taken.Members + cost.Members}
			for _, set := range sets {
				a.has[set] = true
			}
			continue
		}
		why := fmt.Errorf("the kernel has no room for the sets of all policies: policy %s of namespace %s denies, "+
			"because its namespace names more than its share of them", p.Name, namespaceOf(p.Name))
		for _, set := range sets {
			a.refused[set] = why
		}
	}
	return taken
}
