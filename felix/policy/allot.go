package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// Room is what a node's kernel has room for of the sets of policies.
type Room struct{ Sets, Members int }

// Holds reports whether there is room for that much.
func (r Room) Holds(other Room) bool { return other.Sets <= r.Sets && other.Members <= r.Members }

func (r Room) less(other Room) Room { return Room{r.Sets - other.Sets, r.Members - other.Members} }

func (r Room) share(of int) Room { return Room{r.Sets / of, r.Members / of} }

// Allot says which sets the kernel has no room for, by their names, and why. sizes are how many members each set has.
// Policies without a namespace come first: they are an administrator's. Each namespace has an equal share of what is
// left, and what one does not need falls to the others, those that need little first. Of a namespace that needs more than
// its share, the first policies by name that fit have their sets. A set that was allotted costs no other policy anything.
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
		return cmp.Or(cmp.Compare(needs[x].Sets, needs[y].Sets), cmp.Compare(needs[x].Members, needs[y].Members), strings.Compare(x, y))
	})
	for i, ns := range names {
		room = room.less(a.allot(byNamespace[ns], room.share(len(names)-i)))
	}
	for _, ns := range names { // what is left, because somebody's policies do not come in the size of the share
		room = room.less(a.allot(byNamespace[ns], room))
	}
	for name := range a.has {
		delete(a.refused, name)
	}
	return a.refused
}

// namespaceOf gives the namespace of a policy by its name on the wire, "<kind>.<tier>/<namespace>/<name>"; empty if it has none.
func namespaceOf(policy string) string {
	if parts := strings.Split(policy, "/"); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// allotment is what was decided so far.
type allotment struct {
	sizes   map[string]int
	has     map[string]bool  // sets that were allotted
	refused map[string]error // sets that were not, perhaps to another policy
}

// need is what policies need.
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

// sets are those of a policy that there are, each once, and were not allotted.
func (a *allotment) sets(p *wire.Policy) []string {
	var list []string
	for _, rule := range slices.Concat(p.Ingress, p.Egress) {
		for _, end := range [...]wire.Match{rule.Src, rule.Dst} {
			list = append(append(append(append(list, end.Sets...), end.NotSets...), end.PortSets...), end.NotPortSets...)
		}
	}
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(set string) bool {
		_, is := a.sizes[set]
		return !is || a.has[set]
	})
}

// allot gives policies the sets that there is room for, and returns what those take.
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
