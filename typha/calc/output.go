package calc

import (
	"reflect"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/wire"
)

// output holds the objects that were handed out and those that may differ from them. Of sets, policies and endpoints,
// of which there are many, others remember what was handed out.
type output struct {
	current  map[wire.ID]wire.Object
	pending  map[wire.ID]wire.Object // nil: gone
	policies map[string]policyChange // likewise, by name
	upserts  []wire.Object           // that certainly differ
	deletes  []wire.ID
}

func newOutput() output {
	return output{current: map[wire.ID]wire.Object{}, pending: map[wire.ID]wire.Object{},
		policies: map[string]policyChange{}}
}

func (o *output) set(object wire.Object) { o.pending[object.ID()] = object }

// policyChange is what a policy says since the last flush, and said before; empty: there is none.
type policyChange struct {
	was, is encodedRules
	object  *wire.Policy
}

// setPolicy is set for a policy whose rules, in their encoding, are known now and before.
func (o *output) setPolicy(name string, was, is encodedRules, object *wire.Policy) {
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
	slices.SortFunc(deletes, func(a, b wire.ID) int { return b.Compare(a) })
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
	slices.SortFunc(list, func(a, b named) int { return a.id.Compare(b.id) })
	for i, n := range list {
		objects[i] = n.Object
	}
	return objects
}

func equal(a, b wire.Object) bool { return reflect.DeepEqual(a, b) }

// own says whether an object belongs to a node, which then needs it.
func (e *Engine) own(node string, id wire.ID, owned bool) {
	e.needs.Own(needs.NodeNamed(node), id, owned)
}

// setNodeObject sets an object that one node needs.
func (e *Engine) setNodeObject(node string, o wire.Object) {
	e.own(node, o.ID(), true)
	e.out.set(o)
}

// removeNodeObject is the reverse of setNodeObject.
func (e *Engine) removeNodeObject(node string, id wire.ID) {
	e.own(node, id, false)
	e.out.remove(id)
}
