package calc

import (
	"cmp"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// stack is the policies that apply to endpoints which the same selectors select. Endpoints of one stack share
// its tiers.
type stack struct {
	key       string
	selectors []*selector // with policies in force, sorted by number
	users     int         // items
	dirty     bool
	tiers     []wire.Tier // of a workload
	hash      uint64      // of tiers
}

// stackOf gives the stack of an item, nil if no policy selects it.
func (e *Engine) stackOf(it *item) *stack {
	if !it.isEndpoint() {
		return nil
	}
	var key []byte
	for _, s := range it.matches {
		if len(s.inForce) > 0 {
			key = binary.AppendVarint(key, int64(s.number))
		}
	}
	if len(key) == 0 {
		return nil
	}
	if st := e.stacks[string(key)]; st != nil {
		return st
	}
	st := &stack{key: string(key)}
	for _, m := range it.matches {
		if s := m.selector; len(s.inForce) > 0 {
			st.selectors = append(st.selectors, s)
			s.stacks = append(s.stacks, st)
		}
	}
	e.stacks[st.key] = st
	e.dirtyStack(st)
	return st
}

func (e *Engine) dirtyStack(st *stack) {
	if !st.dirty {
		st.dirty = true
		e.dirtyStacks = append(e.dirtyStacks, st)
	}
}

func (e *Engine) dropStack(st *stack) {
	delete(e.stacks, st.key)
	for _, s := range st.selectors {
		s.stacks = without(s.stacks, st)
	}
}

// restack decides again which policies apply to an item, and counts it where its node needs them.
func (e *Engine) restack(it *item) {
	st, node := e.stackOf(it), ""
	if it.isEndpoint() {
		node = it.node
	}
	if c := it.counted; c.node != node || c.stack != st {
		it.counted = counted{node, st}
		e.countEndpoint(it.place, it.counted, 1)
		e.countEndpoint(it.place, c, -1)
		e.mark(it, dirtyEndpoint)
	}
}

// counted is what an endpoint was counted for, beside its place.
type counted struct {
	node  string
	stack *stack
}

// uncount has restack count the endpoint anew. It comes before the place changes.
func (e *Engine) uncount(it *item) {
	if it.counted.node != "" {
		e.countEndpoint(it.place, it.counted, -1)
		it.counted = counted{}
		e.mark(it, dirtyStack)
	}
}

func (e *Engine) countEndpoint(at *place, c counted, n int32) {
	if c.node == "" {
		return
	}
	e.countNode(&e.everywhere, c.node, n)
	for _, p := range at.ruled {
		e.countNode(p.nodes(), c.node, n)
	}
	if c.stack == nil {
		return
	}
	c.stack.users += int(n)
	for _, s := range c.stack.selectors {
		e.countNode(&s.group, c.node, n)
	}
	if c.stack.users == 0 {
		e.dropStack(c.stack)
	}
}

// flushStacks makes the tiers of stacks again, and marks the endpoints that they change.
func (e *Engine) flushStacks() {
	for _, st := range e.dirtyStacks {
		st.dirty = false
		if st.users == 0 {
			continue
		}
		tiers := e.tiersOf(st, func(*policy) bool { return true })
		same := reflect.DeepEqual(tiers, st.tiers)
		if !same {
			if st.tiers, st.hash = tiers, 0; len(tiers) > 0 { // none are as good as no stack
				st.hash = e.hash(tiers)
			}
		}
		for _, it := range st.selectors[0].members {
			if it.counted.stack == st && (!same || it.key.kind == itemHost) {
				e.mark(it, dirtyEndpoint)
			}
		}
	}
	e.dirtyStacks = nil
}

// policiesOf gives the policies of a stack in the order of their evaluation.
func (e *Engine) policiesOf(st *stack) []*policy {
	var list []*policy
	for _, s := range st.selectors {
		list = append(list, s.inForce...)
	}
	slices.SortFunc(list, comparePolicies)
	return list
}

// comparePolicies orders by tier, order, and name; policies of one name by their kinds and namespaces.
func comparePolicies(a, b *policy) int {
	return cmp.Or(compareTiers(a.tier, b.tier), compareOrders(a.order, b.order),
		strings.Compare(a.key.name, b.key.name), strings.Compare(a.name, b.name))
}

func compareTiers(a, b *tier) int {
	if a == b {
		return 0
	}
	return cmp.Or(compareOrders(a.order, b.order), strings.Compare(a.name, b.name))
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

// tiersOf gives the tiers of those of a stack's policies that are wanted.
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
			tiers = append(tiers, wire.Tier{Name: p.tier.name, DefaultAction: p.tier.defaultAction})
			last = p.tier
		}
		t := &tiers[len(tiers)-1]
		if p.ingress {
			t.Ingress = append(t.Ingress, p.name)
		}
		if p.egress {
			t.Egress = append(t.Egress, p.name)
		}
	}
	return tiers
}
