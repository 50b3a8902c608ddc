package sets

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// Member is a member of a set: a network, or an address with a protocol and a port.
type Member struct {
	Net      netip.Prefix
	Protocol uint8 // IANA number
	Port     uint16
}

func compareMembers(a, b Member) int {
	byPort := cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	return cmp.Or(compact.ComparePrefixes(a.Net, b.Net), byPort)
}

// Set is a set in use.
type Set struct {
	// Value belongs to the user of the package, which does not use it.
	Value any

	spec.Content
	users     int32                // 0: the next Flush drops the set
	published bool                 // the set was handed out whole
	selector  *labelindex.Selector // nil for the set of a Service
	// changes are, of a published set, the contributions to each member that came since the last Flush, less those that
	// went. A member is there while it has contributions.
	changes map[Member]int32
}

// ID returns the ID of the set on the wire.
func (s *Set) ID() wire.ID { return wire.ID{Kind: wire.KindIPSet, Name: s.Name} }

// Selector returns the selector of the items that contribute, or nil for the set of a Service.
func (s *Set) Selector() *labelindex.Selector { return s.selector }

// Published reports whether the set was handed out.
func (s *Set) Published() bool { return s.published }

// Spec returns the meaning of the set.
func (s *Set) Spec() spec.Set {
	out := spec.Set{Content: s.Content}
	if s.selector != nil {
		out.Items = s.selector.Spec()
	}
	return out
}

// eachMember calls visit with each member that an item with a network and these ports contributes.
func (s *Set) eachMember(net netip.Prefix, ports labelindex.Ports, visit func(Member)) {
	if s.Port == "" {
		visit(Member{Net: net})
		return
	}
	if net.IsSingleIP() {
		ports.Named(s.Port, s.Protocol, func(port uint16) { visit(Member{net, s.Protocol, port}) })
	}
}

// count notes n more contributions to a member of a published set.
func (s *Sets) count(set *Set, m Member, n int32) {
	if set.changes == nil {
		set.changes = map[Member]int32{}
		s.changed[set] = struct{}{}
	}
	set.changes[m] += n
}

// contributions returns the number of contributions to a member now.
func (s *Sets) contributions(set *Set, m Member) int32 {
	if set.selector == nil {
		return int32(s.services.members(set.Content)[m])
	}
	n := int32(0)
	s.index.AnyWith(m.Net, func(it *labelindex.Item) bool {
		if it.SelectedBy(set.selector) {
			set.eachMember(m.Net, it.Group().Ports(), func(x Member) {
				if x == m {
					n++
				}
			})
		}
		return false
	})
	return n
}

// delta returns how a published set differs from what it was at the last Flush, and whether it does.
func (s *Sets) delta(set *Set) (d wire.SetDelta, differs bool) {
	var added, removed []Member
	for m, change := range set.changes {
		if change == 0 {
			continue
		}
		now := s.contributions(set, m)
		switch before := now - change; {
		case now > 0 && before == 0:
			added = append(added, m)
		case now == 0 && before > 0:
			removed = append(removed, m)
		}
	}
	set.changes = nil
	if len(added)+len(removed) == 0 {
		return d, false
	}
	slices.SortFunc(added, compareMembers)
	slices.SortFunc(removed, compareMembers)
	d.Name = set.Name
	d.AddedNets, d.AddedPorts = split(set, added)
	d.RemovedNets, d.RemovedPorts = split(set, removed)
	return d, true
}

// build returns a set as a whole.
func (s *Sets) build(set *Set) *wire.IPSet {
	var members []Member
	if set.selector == nil {
		for m := range s.services.members(set.Content) {
			members = append(members, m)
		}
	} else {
		for _, g := range set.selector.Groups() {
			for _, it := range g.Items() {
				for net := range it.Networks().All {
					set.eachMember(net, g.Ports(), func(m Member) { members = append(members, m) })
				}
			}
		}
	}
	slices.SortFunc(members, compareMembers)
	out := &wire.IPSet{Name: set.Name, Type: wire.SetNet}
	if set.HasPorts() {
		out.Type = wire.SetPort
	}
	out.Nets, out.Ports = split(set, slices.Compact(members))
	return out
}

// split returns members in the form that the set has on the wire.
func split(set *Set, members []Member) (nets []netip.Prefix, ports []wire.PortMember) {
	switch {
	case len(members) == 0:
	case set.HasPorts():
		ports = make([]wire.PortMember, len(members))
		for i, m := range members {
			ports[i] = wire.PortMember{Addr: m.Net.Addr(), Protocol: m.Protocol, Port: m.Port}
		}
	default:
		nets = make([]netip.Prefix, len(members))
		for i, m := range members {
			nets[i] = m.Net
		}
	}
	return nets, ports
}
