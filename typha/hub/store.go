package hub

import (
	"slices"
	"sync/atomic"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/calc/needs"
	"github.com/maneki-net/maneki/typha/wire"
)

// store holds the present objects, and which node needs which of them, as package typha/calc/needs decided. The
// goroutine of Hub.Run owns it.
type store struct {
	progress *atomic.Uint64 // the Hub's

	sequence uint64 // number of the latest change
	entries  map[wire.ID]*entry
	catalog  catalog // the objects that every node needs; they are in entries, too
	nodes    map[string]*node
	hosts    int        // number of objects of KindHost
	touched  []*Session // marked since the last change was served
}

// entry is an object, or an ID that a node needs and that has no object yet.
type entry struct {
	object  *Object // nil if there is none
	needers []*node // of an object that not every node needs
}

// node is a node that needs objects of its own, or has a session.
type node struct {
	name     string
	needs    map[*entry]struct{}
	sessions []*Session // in the order in which they were opened
}

func newStore(progress *atomic.Uint64) store {
	return store{progress: progress, entries: map[wire.ID]*entry{}, nodes: map[string]*node{}}
}

// apply stores a change, and marks it in the sessions of the nodes concerned. It returns the sessions that were marked;
// the slice is valid until the next call.
func (st *store) apply(delta calc.Delta) []*Session {
	st.touched = st.touched[:0]
	st.sequence++
	for _, o := range delta.Upserts {
		st.progress.Add(1)
		st.replace(o.ID(), newObject(o, st.sequence))
	}
	for _, d := range delta.Sets {
		st.progress.Add(1)
		if e := st.entries[d.ID()]; e != nil && e.object != nil {
			st.replace(d.ID(), e.object.changedBy(d, st.sequence))
		}
	}
	for _, id := range delta.Deletes {
		st.replace(id, nil)
	}
	for name, change := range delta.Interest {
		st.progress.Add(1)
		st.changeNeeds(name, change)
	}
	for _, id := range delta.Deletes {
		st.forgetEntry(id)
	}
	return st.touched
}

// replace sets the object of an ID; nil removes it.
func (st *store) replace(id wire.ID, o *Object) {
	e := st.entry(id)
	from, to := e.object.revisionOrZero(), o.revisionOrZero()
	e.object = o
	if !calc.ForEveryNode(id) {
		for _, n := range e.needers {
			st.mark(n, id, from, to)
		}
		return
	}
	if o != nil {
		st.catalog = st.catalog.with(o)
	} else {
		st.catalog = st.catalog.without(id)
	}
	if id.Kind == wire.KindHost {
		st.hosts += count(to != 0) - count(from != 0)
	}
	for _, n := range st.nodes {
		st.mark(n, id, from, to)
	}
}

// entry returns the entry of an ID. It makes one if there is none.
func (st *store) entry(id wire.ID) *entry {
	e := st.entries[id]
	if e == nil {
		e = &entry{}
		st.entries[id] = e
	}
	return e
}

// forgetEntry removes the entry of an ID that has no object and that no node needs.
func (st *store) forgetEntry(id wire.ID) {
	if e := st.entries[id]; e != nil && e.object == nil && len(e.needers) == 0 {
		delete(st.entries, id)
	}
}

// changeNeeds changes which objects a node needs.
func (st *store) changeNeeds(name string, change needs.Interest) {
	n := st.node(name)
	for _, id := range change.Added {
		e := st.entry(id)
		n.needs[e] = struct{}{}
		e.needers = append(e.needers, n)
		st.mark(n, id, 0, e.object.revisionOrZero())
	}
	for _, id := range change.Removed {
		e := st.entries[id]
		if e == nil {
			continue
		}
		delete(n.needs, e)
		e.needers = removeFrom(e.needers, n)
		if e.object != nil { // otherwise it was marked when it was removed
			st.mark(n, id, e.object.revision, 0)
		}
		st.forgetEntry(id)
	}
	st.forgetNode(n)
}

// mark marks a change of an object in the sessions of a node, from one revision to another. Revision 0 is no object.
func (st *store) mark(n *node, id wire.ID, from, to uint64) {
	for _, s := range n.sessions {
		marked := s.pending.mark(id, from, to)
		if marked && !s.pending.queued {
			s.pending.queued = true
			st.touched = append(st.touched, s)
		}
	}
}

// node returns the node of a name. It makes one if there is none.
func (st *store) node(name string) *node {
	n := st.nodes[name]
	if n == nil {
		n = &node{name: name, needs: map[*entry]struct{}{}}
		st.nodes[name] = n
	}
	return n
}

// forgetNode removes a node that needs nothing and has no session.
func (st *store) forgetNode(n *node) {
	if len(n.needs) == 0 && len(n.sessions) == 0 && st.nodes[n.name] == n { // a session may be closed twice
		delete(st.nodes, n.name)
	}
}

// needed returns the object of an ID, if there is one and the node needs it.
func (st *store) needed(n *node, id wire.ID) *Object {
	e := st.entries[id]
	if e == nil || e.object == nil {
		return nil
	}
	if _, needs := n.needs[e]; !needs && !calc.ForEveryNode(id) {
		return nil
	}
	return e.object
}

// eachSession is an iterator over all sessions.
func (st *store) eachSession(yield func(*Session) bool) {
	for _, n := range st.nodes {
		for _, s := range n.sessions {
			if !yield(s) {
				return
			}
		}
	}
}

// newest returns the session of a node that was opened last; nil if the node has none.
func (n *node) newest() *Session {
	if n == nil || len(n.sessions) == 0 {
		return nil
	}
	return n.sessions[len(n.sessions)-1]
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// removeFrom removes an element of a list whose order does not matter.
func removeFrom[T comparable](list []T, x T) []T {
	i := slices.Index(list, x)
	if i < 0 {
		return list
	}
	last := len(list) - 1
	list[i] = list[last]
	var zero T
	list[last] = zero
	return list[:last]
}
