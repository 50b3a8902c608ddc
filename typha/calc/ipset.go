package calc

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// member is a network, or an address with a protocol and a port.
type member struct {
	net      netip.Prefix
	protocol uint8
	port     uint16
}

func compareMembers(a, b member) int {
	return cmp.Or(compact.ComparePrefixes(a.net, b.net), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
}

// ipSet is a set that policies name. It holds no members: they follow from those of its selector, or of its service.
type ipSet struct {
	spec.Content
	users    int32
	sent     bool
	selector *selector // nil for a service
	counts   counts    // of the groups that use it, by node
	// before says of members that something happened to since the last Flush whether they were in the set.
	before map[member]bool
}

// spec returns what the set was made from.
func (s *ipSet) spec() spec.Set {
	out := spec.Set{Content: s.Content}
	if s.selector != nil {
		out.Items = s.selector.spec()
	}
	return out
}

func (s *ipSet) id() wire.ID { return wire.ID{Kind: wire.KindIPSet, Name: s.Name} }

// each passes what an item with a network, and these packed ports, adds to the set.
func (s *ipSet) each(net netip.Prefix, ports string, visit func(member)) {
	if s.Port == "" {
		visit(member{net: net})
		return
	}
	if net.IsSingleIP() {
		eachPort(ports, s.Port, s.Protocol, func(port uint16) { visit(member{net, s.Protocol, port}) })
	}
}

// contains reports whether a member is in the set now.
func (e *Engine) contains(s *ipSet, m member) bool {
	if s.selector == nil {
		return e.services.members(s.Content)[m] > 0
	}
	return e.nets.any(m.net, func(it *item) bool {
		if !it.selectedBy(s.selector) {
			return false
		}
		has := false
		s.each(m.net, it.class.ports, func(x member) { has = has || x == m })
		return has
	})
}

// note remembers whether a member is in the set, before something happens to it.
func (e *Engine) note(s *ipSet, m member) {
	if !s.sent {
		return
	}
	if s.before == nil {
		s.before = map[member]bool{}
		e.dirtySets[s] = struct{}{}
	}
	if _, noted := s.before[m]; !noted {
		s.before[m] = e.contains(s, m)
	}
}

// noteNet notes what a network of an item of the class, nil is none, is to all sets.
func (e *Engine) noteNet(c *class, net netip.Prefix) {
	if c == nil {
		return
	}
	for _, m := range c.matches {
		for set := range m.sets.All {
			if set.sent {
				set.each(net, c.ports, func(m member) { e.note(set, m) })
			}
		}
	}
}

// noteMember notes all that the items of a class are to the sets of one selector.
func (e *Engine) noteMember(s *selector, c *class) {
	for set := range s.sets.All {
		if !set.sent {
			continue
		}
		for _, it := range c.items {
			for net := range it.nets.All {
				set.each(net, c.ports, func(m member) { e.note(set, m) })
			}
		}
	}
}

// build returns the whole set.
func (e *Engine) build(s *ipSet) *wire.IPSet {
	var members []member
	if s.selector == nil {
		for m := range e.services.members(s.Content) {
			members = append(members, m)
		}
	} else {
		for _, c := range s.selector.members {
			for _, it := range c.items {
				for net := range it.nets.All {
					s.each(net, c.ports, func(m member) { members = append(members, m) })
				}
			}
		}
	}
	slices.SortFunc(members, compareMembers)
	out := &wire.IPSet{Name: s.Name, Type: wire.SetNet}
	if s.HasPorts() {
		out.Type = wire.SetPort
	}
	out.Nets, out.Ports = split(s, slices.Compact(members))
	return out
}

func split(s *ipSet, members []member) (nets []netip.Prefix, ports []wire.PortMember) {
	switch {
	case len(members) == 0:
	case s.HasPorts():
		ports = make([]wire.PortMember, len(members))
		for i, m := range members {
			ports[i] = wire.PortMember{Addr: m.net.Addr(), Protocol: m.protocol, Port: m.port}
		}
	default:
		nets = make([]netip.Prefix, len(members))
		for i, m := range members {
			nets[i] = m.net
		}
	}
	return nets, ports
}

// flushSets returns the sets that changed, and hands the new ones out whole.
func (e *Engine) flushSets() []wire.SetDelta {
	var deltas []wire.SetDelta
	for s := range e.dirtySets {
		if s.users == 0 {
			e.dropSet(s)
			continue
		}
		if !s.sent {
			e.handOut(s)
			continue
		}
		var added, removed []member
		for m, was := range s.before {
			switch is := e.contains(s, m); {
			case is && !was:
				added = append(added, m)
			case was && !is:
				removed = append(removed, m)
			}
		}
		s.before = nil
		if len(added)+len(removed) == 0 {
			continue
		}
		slices.SortFunc(added, compareMembers)
		slices.SortFunc(removed, compareMembers)
		d := wire.SetDelta{Name: s.Name}
		d.AddedNets, d.AddedPorts = split(s, added)
		d.RemovedNets, d.RemovedPorts = split(s, removed)
		deltas = append(deltas, d)
	}
	if len(e.dirtySets) > 0 {
		e.dirtySets = map[*ipSet]struct{}{}
	}
	slices.SortFunc(deltas, func(a, b wire.SetDelta) int { return strings.Compare(a.Name, b.Name) })
	return deltas
}

// handOut hands out a whole set.
func (e *Engine) handOut(s *ipSet) {
	s.sent = true
	e.progress.Add(1)
	e.out.changed(e.build(s))
}

// acquireSet returns the set with this meaning. The next Flush hands it out. Release it after use.
func (e *Engine) acquireSet(want spec.Set) *ipSet {
	s := e.acquireLater(want)
	if !s.sent {
		e.dirtySets[s] = struct{}{}
		if s.selector != nil && !s.selector.asked {
			e.fresh = append(e.fresh, s.selector)
		}
	}
	return s
}

// acquireLater is acquireSet, but the set is not handed out.
func (e *Engine) acquireLater(want spec.Set) *ipSet {
	s := e.sets.Get(want.Name)
	if s == nil {
		s = &ipSet{Content: want.Content}
		if want.Service == nil {
			s.selector = e.acquireUnasked(want.Items)
			s.selector.sets.Add(s)
		} else {
			e.services.use(*want.Service, s)
		}
		e.sets.Add(s)
	}
	s.users++
	return s
}

func (e *Engine) releaseSet(s *ipSet) {
	if s.users--; s.users == 0 {
		e.dirtySets[s] = struct{}{} // Flush drops it, unless it is used again by then
	}
}

func (e *Engine) dropSet(s *ipSet) {
	e.sets.Remove(s)
	if s.selector != nil {
		s.selector.sets.Remove(s)
		e.releaseSelector(s.selector)
	} else {
		e.services.release(*s.Service, s)
	}
	if s.sent {
		e.out.gone(s.id())
	}
}
