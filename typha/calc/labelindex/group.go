package labelindex

import (
	"cmp"
	"slices"
	"strings"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// Group holds items with the same kind, namespace, labels, named ports and profiles, so that a selector is evaluated
// once for all of them. A group has at least one item; when the last one leaves, the index drops the group.
type Group struct {
	// Value belongs to the user of the index, which does not use it.
	Value any

	origin   *origin
	labels   labels // of the items themselves; what they inherit is with the profiles
	ports    Ports
	items    []*Item // in no order; item.at is the index of each
	networks int32   // of the items, together
	queued   bool    // the group is in Index.queue

	// matches are the selectors that select the items, as of the last Flush, sorted by their numbers. Some may not be
	// in use any more; see Sweep.
	matches []match
}

// match is a selector that selects a group. selector.groups[at] is the group, as long as the selector is in use.
type match struct {
	*Selector
	at int32
}

// groupKey is what the items of a group have in common.
type groupKey struct {
	origin *origin
	labels labels
	ports  Ports
}

func (g *Group) key() groupKey { return groupKey{g.origin, g.labels, g.ports} }

// Kind returns what the items are made from.
func (g *Group) Kind() Kind { return g.origin.kind }

// Namespace returns the namespace of the items, empty for items in none.
func (g *Group) Namespace() string { return g.origin.namespace.name }

// Profiles returns the profiles of the items, in order. The caller must not modify the list.
func (g *Group) Profiles() []*Profile { return g.origin.profiles }

// Ports returns the named ports of the items.
func (g *Group) Ports() Ports { return g.ports }

// Items returns the items, in no order. The caller must not modify the list.
func (g *Group) Items() []*Item { return g.items }

// Selectors iterates over the selectors that select the items, as of the last Flush, in the order of their numbers.
func (g *Group) Selectors(yield func(*Selector) bool) {
	for _, m := range g.matches {
		if m.users > 0 && !yield(m.Selector) {
			return
		}
	}
}

// SelectedBy reports whether a selector selects the items, as of the last Flush.
func (g *Group) SelectedBy(s *Selector) bool {
	_, is := g.find(s)
	return is
}

// find returns where in the matches a selector is.
func (g *Group) find(s *Selector) (int, bool) {
	byNumber := func(m match, number int32) int { return cmp.Compare(m.number, number) }
	return slices.BinarySearchFunc(g.matches, s.number, byNumber)
}

// Get implements selector.Labels: the labels of the items themselves, those that follow from where they are, and those
// that their profiles give. Only profiles give labels of namespaces and service accounts: a pod does not have them by
// saying so.
func (g *Group) Get(name string) (string, bool) {
	switch name {
	case v3.LabelNamespace:
		return g.origin.namespace.name, g.origin.namespace.name != ""
	case v3.LabelServiceAccount:
		return g.origin.account, g.origin.account != ""
	case v3.LabelOrchestrator:
		return g.origin.orchestrator, g.origin.orchestrator != ""
	}
	number, known := g.origin.namespace.names.numbers[name]
	if !known {
		return "", false
	}
	if !isInherited(name) {
		if v, ok := g.labels.get(number); ok {
			return v, true
		}
	}
	for _, p := range g.origin.profiles {
		if v, ok := p.labels.get(number); ok {
			return v, true
		}
	}
	return "", false
}

// isInherited reports whether a label is one of a namespace or of a service account.
func isInherited(label string) bool {
	return strings.HasPrefix(label, v3.NamespaceLabelPrefix) || strings.HasPrefix(label, v3.ServiceAccountLabelPrefix)
}

// groupOf returns the group of the items like this one with these attributes. It makes one if there is none.
func (x *Index) groupOf(it *Item, a *Attributes) *Group {
	key := groupKey{x.originOf(it, a), x.names.pack("", a.Labels), a.Ports}
	g := x.groups.Get(key)
	if g != nil {
		x.names.release(key.labels)
		return g
	}
	g = &Group{origin: key.origin, labels: key.labels, ports: key.ports}
	x.groups.Add(g)
	g.origin.groups.Add(g)
	x.enqueue(g)
	return g
}

// remove removes an item from the list of items.
func (g *Group) remove(it *Item) {
	last := g.items[len(g.items)-1]
	g.items[it.at], last.at = last, it.at
	g.items[len(g.items)-1] = nil
	g.items = g.items[:len(g.items)-1]
}

// grow counts that the items of a group have n more networks.
func (x *Index) grow(g *Group, n int) {
	if n == 0 {
		return
	}
	g.networks += int32(n)
	for _, m := range g.matches {
		x.resize(m.Selector, n)
	}
}

// dropGroup forgets a group without items.
func (x *Index) dropGroup(g *Group) {
	x.groups.Remove(g)
	for _, m := range g.matches {
		m.leave()
	}
	g.matches = nil
	for _, o := range x.observers {
		o.GroupDropped(g)
	}
	x.names.release(g.labels)
	g.origin.groups.Remove(g)
	if g.origin.groups.Len() == 0 {
		x.dropOrigin(g.origin)
	}
}

// leave removes the group from the selector's groups. The last one takes its place there.
func (m match) leave() {
	if m.users == 0 {
		return // Sweep removes all groups of the selector
	}
	last := m.groups[len(m.groups)-1]
	i, _ := last.find(m.Selector)
	last.matches[i].at = m.at
	m.groups[m.at], m.groups[len(m.groups)-1] = last, nil
	m.groups = m.groups[:len(m.groups)-1]
}
