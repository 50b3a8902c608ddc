package calc

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// output holds the objects that were handed out and those that may differ from them. Of sets, policies and endpoints, of which
// there are many, others remember what was handed out.
type output struct {
	current  map[wire.ID]wire.Object
	pending  map[wire.ID]wire.Object // nil: gone
	policies map[string]policyChange // likewise, by name
	upserts  []wire.Object           // that certainly differ
	deletes  []wire.ID
}

func newOutput() output {
	return output{current: map[wire.ID]wire.Object{}, pending: map[wire.ID]wire.Object{}, policies: map[string]policyChange{}}
}

func (o *output) set(object wire.Object) { o.pending[object.ID()] = object }

// policyChange is what a policy says since the last flush, and said before; empty: there is none.
type policyChange struct {
	was, is string
	object  *wire.Policy
}

// setPolicy is set for a policy whose rules, in their encoding, are known now and before.
func (o *output) setPolicy(name, was, is string, object *wire.Policy) {
	if first, changed := o.policies[name]; changed {
		was = first.was
	}
	o.policies[name] = policyChange{was, is, object}
}

// replace sets an object, or removes it with nil.
func (o *output) replace(id wire.ID, object wire.Object) { o.pending[id] = object }

func (o *output) remove(id wire.ID) { o.pending[id] = nil }

// changed hands out an object that is new or differs, gone takes one back: once between two flushes.
func (o *output) changed(object wire.Object) { o.upserts = append(o.upserts, object) }

func (o *output) gone(id wire.ID) { o.deletes = append(o.deletes, id) }

func (o *output) flush() (upserts []wire.Object, deletes []wire.ID) {
	for id, object := range o.pending {
		before, existed := o.current[id]
		switch {
		case object == nil && existed:
			delete(o.current, id)
			o.gone(id)
		case object != nil && !(existed && equal(before, object)):
			o.current[id] = object
			o.changed(object)
		}
	}
	for name, c := range o.policies {
		switch {
		case c.is == "" && c.was != "":
			o.gone(wire.ID{Kind: wire.KindPolicy, Name: name})
		case c.is != c.was:
			o.changed(c.object)
		}
	}
	upserts, deletes = sortObjects(o.upserts), o.deletes
	slices.SortFunc(deletes, func(a, b wire.ID) int { return compareIDs(b, a) })
	o.upserts, o.deletes = nil, nil
	if len(o.pending) > 0 {
		o.pending = map[wire.ID]wire.Object{}
	}
	if len(o.policies) > 0 {
		o.policies = map[string]policyChange{}
	}
	return upserts, deletes
}

// sortObjects sorts by ID, which it asks for once.
func sortObjects(objects []wire.Object) []wire.Object {
	type named struct {
		id wire.ID
		wire.Object
	}
	list := make([]named, len(objects))
	for i, o := range objects {
		list[i] = named{o.ID(), o}
	}
	slices.SortFunc(list, func(a, b named) int { return compareIDs(a.id, b.id) })
	for i, n := range list {
		objects[i] = n.Object
	}
	return objects
}

func equal(a, b wire.Object) bool { return reflect.DeepEqual(a, b) }

func compareIDs(a, b wire.ID) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}

// interest says what nodes need of that which not every node gets.
type interest struct {
	nodes   map[string]map[wire.ID]bool // of what belongs to a node by itself
	changes map[string]*Interest
	added   map[string][]wire.ID // many policies at once, sorted; many nodes share a list
}

func newInterest() interest {
	return interest{nodes: map[string]map[wire.ID]bool{}, changes: map[string]*Interest{}, added: map[string][]wire.ID{}}
}

// change notes that a node needs something from now on, or no longer: once between two flushes.
func (i *interest) change(node string, id wire.ID, needed bool) {
	c := i.of(node)
	if needed {
		c.Added = append(c.Added, id)
	} else {
		c.Removed = append(c.Removed, id)
	}
}

func (i *interest) of(node string) *Interest {
	c := i.changes[node]
	if c == nil {
		c = &Interest{}
		i.changes[node] = c
	}
	return c
}

// own notes that an object belongs to a node, or no longer.
func (e *Engine) own(node string, id wire.ID, owned bool) {
	nodes := e.interest.nodes
	if nodes[node][id] == owned {
		return
	}
	e.noteNeed(nodeNamed(node), id, !owned)
	if owned {
		if nodes[node] == nil {
			nodes[node] = map[wire.ID]bool{}
		}
		nodes[node][id] = true
		return
	}
	if delete(nodes[node], id); len(nodes[node]) == 0 {
		delete(nodes, node)
	}
}

func (i *interest) flush() map[string]Interest {
	changes := make(map[string]Interest, len(i.changes))
	for node, c := range i.changes {
		slices.SortFunc(c.Added, compareIDs)
		slices.SortFunc(c.Removed, compareIDs)
		c.Added = between(c.Added, i.added[node])
		changes[node] = *c
	}
	if len(i.changes) > 0 {
		i.changes, i.added = map[string]*Interest{}, map[string][]wire.ID{}
	}
	return changes
}

// between puts sorted policies into a sorted list.
func between(list, policies []wire.ID) []wire.ID {
	if len(policies) == 0 {
		return list
	}
	first, _ := slices.BinarySearchFunc(list, wire.ID{Kind: wire.KindPolicy}, compareIDs)
	last, _ := slices.BinarySearchFunc(list, wire.ID{Kind: wire.KindPolicy + 1}, compareIDs)
	if first == last {
		return slices.Concat(list[:first], policies, list[last:])
	}
	both := slices.Concat(list[first:last], policies)
	slices.SortFunc(both, compareIDs)
	return slices.Concat(list[:first], both, list[last:])
}
