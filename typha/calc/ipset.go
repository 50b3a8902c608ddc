package calc

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/maneki-net/maneki/typha/wire"
)

// setSpec says what an IP set contains.
type setSpec struct {
	setForm
	items spec
}

// setForm says what of the selected items is in a set: their networks, or, with a port name, those of their ports that
// have the name and the protocol. Or else it contains the endpoints of a Service.
type setForm struct {
	name     string // see hash
	port     string
	service  *resourceName
	protocol uint8
	ports    bool // of a service, its ports too
}

// setMeaning is the key that specs with the same meaning share.
type setMeaning struct {
	items    specKey
	service  resourceName
	port     string
	protocol uint8
	ports    bool
}

func (s *setSpec) meaning() setMeaning {
	if s.service != nil {
		return setMeaning{service: *s.service, ports: s.ports}
	}
	return setMeaning{items: s.items.key(), port: s.port, protocol: s.protocol}
}

// hash returns the set's name, a hash of the meaning: "s:" and 22 characters for addresses, "n:" for ports.
func (s *setSpec) hash() string {
	prefix, text := "s:", make([]byte, 0, 256)
	switch {
	case s.service != nil:
		text = append(append(append(append(text, "service "...), s.service.namespace...), '/'), s.service.name...)
		if s.ports {
			prefix = "n:"
		}
	case s.port != "":
		prefix = "n:"
		text = strconv.AppendQuote(append(strconv.AppendUint(text, uint64(s.protocol), 10), ' '), s.port)
		text = s.items.appendCanonical(append(text, ' '))
	default:
		text = s.items.appendCanonical(text)
	}
	sum := sha256.Sum256(text)
	return prefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// member is a network, or an address with a protocol and a port.
type member struct {
	net      netip.Prefix
	protocol uint8
	port     uint16
}

func compareMembers(a, b member) int {
	return cmp.Or(comparePrefixes(a.net, b.net), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// ipSet is a set that policies name. It holds no members: they follow from those of its selector, or of its service.
type ipSet struct {
	setForm
	users    int32
	sent     bool
	selector *selector // nil for a service
	counts   counts    // of the groups that use it, by node
	// before says of members that something happened to since the last Flush whether they were in the set.
	before map[member]bool
}

// spec returns what the set was made from.
func (s *ipSet) spec() setSpec {
	out := setSpec{setForm: s.setForm}
	if s.selector != nil {
		out.items = s.selector.spec()
	}
	return out
}

func (s *ipSet) id() wire.ID { return wire.ID{Kind: wire.KindIPSet, Name: s.name} }

func (s *ipSet) byPort() bool { return s.port != "" || s.ports }

// each passes what an item with a network, and these packed ports, adds to the set.
func (s *ipSet) each(net netip.Prefix, ports string, visit func(member)) {
	if s.port == "" {
		visit(member{net: net})
		return
	}
	if net.IsSingleIP() {
		eachPort(ports, s.port, s.protocol, func(port uint16) { visit(member{net, s.protocol, port}) })
	}
}

// contains reports whether a member is in the set now.
func (e *Engine) contains(s *ipSet, m member) bool {
	if s.selector == nil {
		return e.services.members(s.setForm)[m] > 0
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
		for set := range m.sets.all {
			if set.sent {
				set.each(net, c.ports, func(m member) { e.note(set, m) })
			}
		}
	}
}

// noteMember notes all that the items of a class are to the sets of one selector.
func (e *Engine) noteMember(s *selector, c *class) {
	for set := range s.sets.all {
		if !set.sent {
			continue
		}
		for _, it := range c.items {
			for net := range it.nets.each {
				set.each(net, c.ports, func(m member) { e.note(set, m) })
			}
		}
	}
}

// build returns the whole set.
func (e *Engine) build(s *ipSet) *wire.IPSet {
	var members []member
	if s.selector == nil {
		for m := range e.services.members(s.setForm) {
			members = append(members, m)
		}
	} else {
		for _, c := range s.selector.members {
			for _, it := range c.items {
				for net := range it.nets.each {
					s.each(net, c.ports, func(m member) { members = append(members, m) })
				}
			}
		}
	}
	slices.SortFunc(members, compareMembers)
	out := &wire.IPSet{Name: s.name, Type: wire.SetNet}
	if s.byPort() {
		out.Type = wire.SetPort
	}
	out.Nets, out.Ports = split(s, slices.Compact(members))
	return out
}

func split(s *ipSet, members []member) (nets []netip.Prefix, ports []wire.PortMember) {
	switch {
	case len(members) == 0:
	case s.byPort():
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
		d := wire.SetDelta{Name: s.name}
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
func (e *Engine) acquireSet(want setSpec) *ipSet {
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
func (e *Engine) acquireLater(want setSpec) *ipSet {
	s := e.sets.get(want.name)
	if s == nil {
		s = &ipSet{setForm: want.setForm}
		if want.service == nil {
			s.selector = e.acquireUnasked(want.items)
			s.selector.sets.add(s)
		} else {
			e.services.use(*want.service, s)
		}
		e.sets.add(s)
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
	e.sets.remove(s)
	if s.selector != nil {
		s.selector.sets.remove(s)
		e.releaseSelector(s.selector)
	} else {
		e.services.release(*s.service, s)
	}
	if s.sent {
		e.out.gone(s.id())
	}
}
