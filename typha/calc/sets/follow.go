package sets

import (
	"net/netip"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
)

// ItemMoved implements labelindex.Observer.
func (s *Sets) ItemMoved(it *labelindex.Item, from *labelindex.Group) {
	for net := range it.Networks().All {
		s.countNetwork(from, net, -1)
		s.countNetwork(it.Group(), net, 1)
	}
}

// NetworksChanged implements labelindex.Observer.
func (s *Sets) NetworksChanged(it *labelindex.Item, before compact.Networks) {
	now := it.Networks()
	for net := range before.All {
		if !now.Has(net) {
			s.countNetwork(it.Group(), net, -1)
		}
	}
	for net := range now.All {
		if !before.Has(net) {
			s.countNetwork(it.Group(), net, 1)
		}
	}
}

// countNetwork counts what a network of an item in a group, nil is none, contributes to all sets.
func (s *Sets) countNetwork(g *labelindex.Group, net netip.Prefix, n int32) {
	if g == nil {
		return
	}
	for selector := range g.Selectors {
		sets := s.bySelector[selector]
		for set := range sets.All {
			if set.published {
				set.eachMember(net, g.Ports(), func(m Member) { s.count(set, m, n) })
			}
		}
	}
}

// SelectionChanged implements labelindex.Observer.
func (s *Sets) SelectionChanged(selector *labelindex.Selector, g *labelindex.Group, selected bool) {
	n := int32(-1)
	if selected {
		n = 1
	}
	sets := s.bySelector[selector]
	for set := range sets.All {
		if !set.published {
			continue
		}
		for _, it := range g.Items() {
			for net := range it.Networks().All {
				set.eachMember(net, g.Ports(), func(m Member) { s.count(set, m, n) })
			}
		}
	}
}

// Resized implements labelindex.Observer.
func (s *Sets) Resized(*labelindex.Selector, int) {}

// GroupDropped implements labelindex.Observer.
func (s *Sets) GroupDropped(*labelindex.Group) {}
