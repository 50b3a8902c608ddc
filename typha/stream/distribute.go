package stream

import (
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// distribute stores the delta and marks what changed in the sessions concerned.
func (h *Hub) distribute(delta calc.Delta) {
	for _, o := range delta.Upserts {
		h.progress.Add(1)
		if set, ok := o.(*wire.IPSet); ok {
			o = wire.Pack(set)
		}
		h.replace(o.ID(), newObject(o.ID(), o, h.sequence))
	}
	for _, d := range delta.Sets {
		h.progress.Add(1)
		if e := h.entries[d.ID()]; e != nil && e.object != nil {
			h.replace(d.ID(), changedSet(e.object, d, h.sequence))
		}
	}
	for _, id := range delta.Deletes {
		h.replace(id, nil)
	}
	for name, change := range delta.Interest {
		h.progress.Add(1)
		n := h.node(name)
		for _, id := range change.Added {
			h.addNeed(n, id)
		}
		for _, id := range change.Removed {
			h.removeNeed(n, id)
		}
		h.forget(n)
	}
	for _, id := range delta.Deletes { // what no node needs is forgotten
		if e := h.entries[id]; e != nil && e.object == nil && len(e.needers) == 0 {
			delete(h.entries, id)
		}
	}
}

// replace puts a new version in the place of an object; nil says that it is gone.
func (h *Hub) replace(id wire.ID, o *object) {
	e := h.entries[id]
	if e == nil {
		e = &entry{}
		h.entries[id] = e
	}
	from, to := revisionOf(e.object), revisionOf(o)
	e.object = o
	if !calc.ForEveryNode(id) {
		for _, n := range e.needers {
			n.mark(id, from, to)
		}
		return
	}
	if o != nil {
		h.catalog = h.catalog.with(o)
	} else {
		h.catalog = h.catalog.without(id)
	}
	if id.Kind == wire.KindHost {
		h.hosts += count(to != 0) - count(from != 0)
	}
	for _, n := range h.nodes {
		n.mark(id, from, to)
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func revisionOf(o *object) uint64 {
	if o == nil {
		return 0
	}
	return o.revision
}

// node returns the node of a name, which it makes if there is none.
func (h *Hub) node(name string) *node {
	n := h.nodes[name]
	if n == nil {
		n = &node{name: name, needs: map[*entry]struct{}{}}
		h.nodes[name] = n
	}
	return n
}

// forget drops a node that needs nothing and has no session.
func (h *Hub) forget(n *node) {
	if len(n.needs) == 0 && len(n.sessions) == 0 && h.nodes[n.name] == n { // a session may be closed twice
		delete(h.nodes, n.name)
	}
}

func (h *Hub) addNeed(n *node, id wire.ID) {
	e := h.entries[id]
	if e == nil {
		e = &entry{}
		h.entries[id] = e
	}
	n.needs[e] = struct{}{}
	e.needers = append(e.needers, n)
	n.mark(id, 0, revisionOf(e.object))
}

func (h *Hub) removeNeed(n *node, id wire.ID) {
	e := h.entries[id]
	if e == nil {
		return
	}
	delete(n.needs, e)
	e.needers = removeFrom(e.needers, n)
	if e.object != nil { // otherwise it was marked when it went
		n.mark(id, e.object.revision, 0)
	} else if len(e.needers) == 0 {
		delete(h.entries, id)
	}
}

func (n *node) mark(id wire.ID, from, to uint64) {
	for _, s := range n.sessions {
		s.mark(id, from, to)
	}
}

// needed returns the object if the node needs it and there is one.
func (h *Hub) needed(n *node, id wire.ID) *object {
	e := h.entries[id]
	if e == nil || e.object == nil {
		return nil
	}
	if _, needs := n.needs[e]; !needs && !calc.ForEveryNode(id) {
		return nil
	}
	return e.object
}
