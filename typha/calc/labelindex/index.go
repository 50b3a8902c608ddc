package labelindex

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// Observer follows what changes in an index. Its methods are called in the middle of a change: they may read the index,
// but must change no items, labels or selectors.
type Observer interface {
	// ItemMoved is called after an item has left a group, nil for none, and has joined the one that it is in now.
	ItemMoved(it *Item, from *Group)
	// NetworksChanged is called after an item, which may be in no group, has got other networks than before.
	NetworksChanged(it *Item, before compact.Networks)
	// SelectionChanged is called when a selector selects the items of a group from now on, or no longer does.
	// Group.Selectors does not show it yet.
	SelectionChanged(s *Selector, g *Group, selected bool)
	// Resized is called after the number of networks that a selector selects has changed.
	Resized(s *Selector, before int)
	// GroupDropped is called after the last item of a group has left.
	GroupDropped(g *Group)
}

// Index is the index. Make it with New.
type Index struct {
	observers []Observer
	names     *dictionary // of the labels of groups and profiles

	items      compact.Table[Key, *Item]
	networks   networkTable
	namespaces compact.Table[string, *namespace]
	profiles   compact.Table[string, *Profile]
	origins    compact.Table[originKey, *origin]
	groups     compact.Table[groupKey, *Group]

	selectors  compact.Table[spec.SelectorKey, *Selector] // in use
	nextNumber int32
	facts      factIndex

	queue     []*Group    // to be matched by the next Flush, each once: those with Group.queued. Some may be dropped
	unmatched []*Selector // to be matched by the next Flush
	unused    []*Selector // with groups, for Sweep

	stats   Stats
	steps   atomic.Uint64
	scratch []*Selector // memory that calls of matchGroup share
}

// New returns an empty index.
func New() *Index {
	seed := maphash.MakeSeed()
	return &Index{
		names:      newDictionary(),
		items:      compact.NewTable(seed, (*Item).Key),
		networks:   newNetworkTable(seed),
		namespaces: compact.NewTable(seed, func(n *namespace) string { return n.name }),
		profiles:   compact.NewTable(seed, (*Profile).Name),
		origins:    compact.NewTable(seed, (*origin).key),
		groups:     compact.NewTable(seed, (*Group).key),
		selectors:  compact.NewTable(seed, (*Selector).key),
		facts:      newFactIndex(),
	}
}

// Observe adds an observer. It is called after those that were added before.
func (x *Index) Observe(o Observer) { x.observers = append(x.observers, o) }

// Stats are figures of an index. The counts of what was done grow forever.
type Stats struct {
	Items int
	// Indexed are the selectors in use that are filed under a label or a namespace, Unindexed the others.
	Indexed, Unindexed int
	// Matched and Unmatched are how often a selector was evaluated, by the result.
	Matched, Unmatched uint64
	// FullScans and NamespaceScans are how often all groups, or those of a namespace, were searched for those that new
	// selectors select.
	FullScans, NamespaceScans uint64
}

// evaluated counts that a selector was evaluated a number of times.
func (t *Stats) evaluated(times, selected int) {
	t.Matched += uint64(selected)
	t.Unmatched += uint64(times - selected)
}

// Stats returns the figures. It costs little.
func (x *Index) Stats() Stats {
	s := x.stats
	s.Items = x.items.Len()
	return s
}

// Steps returns the number of steps that matching has taken so far. It may be called from any goroutine at any time.
func (x *Index) Steps() uint64 { return x.steps.Load() }

// Groups returns the number of groups in a namespace, or, if it is empty, of all groups.
func (x *Index) Groups(namespace string) int {
	if namespace == "" {
		return x.groups.Len()
	}
	n := x.namespaces.Get(namespace)
	if n == nil {
		return 0
	}
	count := 0
	for o := range n.origins.All {
		count += o.groups.Len()
	}
	return count
}

// Held returns how many objects of each sort the index holds. Tests use it to show that nothing is left after all
// items, labels and selectors were removed.
func (x *Index) Held() map[string]int {
	held := map[string]int{
		"items": x.items.Len(), "item networks": x.networks.Len(), "label names": len(x.names.numbers),
		"namespaces": x.namespaces.Len(), "profiles": x.profiles.Len(), "origins": x.origins.Len(),
		"groups": x.groups.Len(), "selectors": x.selectors.Len(), "files": len(x.facts.files) + len(x.facts.labels),
		"queued": len(x.queue) + len(x.unmatched) + len(x.unused),
	}
	for _, counts := range x.networks.lengths {
		for _, n := range counts {
			held["item networks"] += n
		}
	}
	return held
}
