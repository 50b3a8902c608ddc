package calc

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/wire"
)

// stack is the policies that apply to classes which the same selectors select. They share its tiers.
type stack struct {
	key       string
	selectors compact.Pointers[labelindex.Selector] // with policies in force
	users     int32                                 // classes
	dirty     bool
	hash      uint64 // of the tiers of a workload; 0 for none
}

// tiersOfWorkload returns the tiers of a workload with the stack; nil has none. They are kept where several classes
// have the stack, and else to the end of the Flush.
func (e *Engine) tiersOfWorkload(st *stack) []wire.Tier {
	if st == nil || st.hash == 0 {
		return nil
	}
	tiers, made := e.stackTiers[st]
	if !made {
		tiers = e.tiersOf(st, func(*policy) bool { return true })
		e.keepTiers(st, tiers)
	}
	return tiers
}

func (e *Engine) keepTiers(st *stack, tiers []wire.Tier) {
	e.stackTiers[st] = tiers
	if st.users <= 1 {
		e.usedStacks = append(e.usedStacks, st)
	}
}

// trimTiers lets go of the tiers that no other class needs.
func (e *Engine) trimTiers() {
	for _, st := range e.usedStacks {
		if st.users <= 1 {
			delete(e.stackTiers, st)
		}
	}
	e.usedStacks = emptied(e.usedStacks)
}

// stackOf returns the stack of a group, nil if no policy selects it.
func (e *Engine) stackOf(g *labelindex.Group) *stack {
	if !g.Kind().IsEndpoint() {
		return nil
	}
	numbers := make([]byte, 0, 64)
	for s := range g.Selectors {
		if isSubject(s) {
			numbers = binary.AppendVarint(numbers, int64(s.Number()))
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	key := string(numbers)
	st := e.stacks.Get(key)
	if st == nil {
		st = &stack{key: key}
		for s := range g.Selectors {
			if isSubject(s) {
				st.selectors.Add(s)
			}
		}
		e.stacks.Add(st)
		e.dirtyStack(st)
	}
	return st
}

func (e *Engine) dirtyStack(st *stack) {
	if !st.dirty {
		st.dirty = true
		e.dirtyStacks = append(e.dirtyStacks, st)
	}
}

// restack decides again which policies apply to a group.
func (e *Engine) restack(g *labelindex.Group) {
	a, now := appliedTo(g), e.stackOf(g)
	if a.stack == now {
		return
	}
	for _, it := range g.Items() {
		e.uncount(itemOf(it))
	}
	if now != nil {
		now.users++
	}
	e.unstack(a)
	a.stack = now
}

// unstack takes the stack away from a group whose items are not counted.
func (e *Engine) unstack(a *applied) {
	st := a.stack
	if st == nil {
		return
	}
	a.stack = nil
	st.users--
	switch st.users {
	case 0:
		e.stacks.Remove(st)
		delete(e.stackTiers, st)
	case 1:
		e.usedStacks = append(e.usedStacks, st)
	}
}

// count counts an endpoint where its node needs the policies that apply to it.
func (e *Engine) count(it *item) {
	if !it.is(itemCounted) && it.isEndpoint() {
		it.setFlag(itemCounted)
		e.countEndpoint(it, it.Group(), 1)
	}
}

// uncount has the next Flush count the endpoint again. It is called before its node, or what applies to its group,
// changes.
func (e *Engine) uncount(it *item) {
	if it.is(itemCounted) {
		it.clearFlag(itemCounted)
		e.countEndpoint(it, it.Group(), -1)
		e.mark(it)
	}
}

// countEndpoint counts an endpoint n times more where what applies to a group is needed.
func (e *Engine) countEndpoint(it *item, g *labelindex.Group, n int32) {
	a := appliedTo(g)
	e.tally.endpoints[it.Kind()] += int(n)
	e.needs.Count(&e.needs.EveryNode, it.node, n)
	if a.rules != nil {
		for _, p := range a.rules.profiles {
			e.needs.Count(p.policy.Group, it.node, n)
		}
	}
	if a.stack != nil {
		for s := range a.stack.selectors.All {
			e.needs.Count(&subjectOf(s).nodes, it.node, n)
		}
	}
}

// flushStacks makes the tiers of stacks again, and marks the endpoints that they change.
func (e *Engine) flushStacks() {
	for _, st := range e.dirtyStacks {
		st.dirty = false
		if st.users == 0 {
			continue
		}
		tiers, before := e.tiersOf(st, func(*policy) bool { return true }), st.hash
		st.hash = 0
		if len(tiers) > 0 { // none are as good as no stack
			st.hash = e.hash(tiers)
		}
		e.keepTiers(st, tiers)
		for _, g := range st.selectors.First().Groups() {
			if appliedTo(g).stack == st && (st.hash != before || g.Kind() == labelindex.Host) {
				for _, it := range g.Items() {
					e.mark(itemOf(it))
				}
			}
		}
	}
	e.dirtyStacks = emptied(e.dirtyStacks)
}

// policiesOf returns the policies of a stack in the order of their evaluation.
func (e *Engine) policiesOf(st *stack) []*policy {
	var list []*policy
	for s := range st.selectors.All {
		list = slices.AppendSeq(list, subjectOf(s).policies.All)
	}
	slices.SortFunc(list, comparePolicies)
	return list
}

// comparePolicies orders by tier, order, and name; policies of one name by their kinds and namespaces.
func comparePolicies(a, b *policy) int {
	return cmp.Or(compareTiers(a.tier, b.tier), compareOrders(a.order, b.order),
		strings.Compare(a.key().Name, b.key().Name), strings.Compare(a.Name, b.Name))
}

func compareTiers(a, b *tier) int {
	if a == b {
		return 0
	}
	return cmp.Or(compareOrders(a.Order, b.Order), strings.Compare(a.name, b.name))
}

// compareOrders puts an absent order last.
func compareOrders(a, b *float64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*a, *b)
}

// tiersOf returns the tiers of those of a stack's policies that are wanted.
func (e *Engine) tiersOf(st *stack, wanted func(*policy) bool) []wire.Tier {
	if st == nil {
		return nil
	}
	var tiers []wire.Tier
	var last *tier
	for _, p := range e.policiesOf(st) {
		if !wanted(p) || !p.ingress && !p.egress {
			continue
		}
		if p.tier != last {
			tiers = append(tiers, wire.Tier{Name: p.tier.name, DefaultAction: p.tier.DefaultAction})
			last = p.tier
		}
		t := &tiers[len(tiers)-1]
		if p.ingress {
			t.Ingress = append(t.Ingress, p.Name)
		}
		if p.egress {
			t.Egress = append(t.Egress, p.Name)
		}
	}
	return tiers
}
