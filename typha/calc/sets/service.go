package sets

import (
	"maps"
	"net/netip"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// MaxServiceMembers is how many addresses, and pairs of an address and a port, the EndpointSlices of a Service may name
// together. One slice of the largest size in Kubernetes names hundreds of millions, because each port belongs to each
// address. A Service with more has no members at all, whichever slice came first.
const MaxServiceMembers = 1 << 17

// SliceName names an EndpointSlice.
type SliceName struct{ Namespace, Name string }

// Slice is what one EndpointSlice says of a Service. The lists have each value once.
type Slice struct {
	Service spec.Service
	Addrs   []netip.Addr
	Ports   []ServicePort // of each of the addresses
}

// ServicePort is a port of the endpoints of a Service.
type ServicePort struct {
	Protocol uint8 // IANA number
	Number   uint16
}

// size returns how many members the slice has, with and without ports.
func (s *Slice) size() int { return len(s.Addrs) * (1 + len(s.Ports)) }

// each calls addr with each address, and port with each pair of an address and a port.
func (s *Slice) each(addr, port func(Member)) {
	for _, a := range s.Addrs {
		net := netip.PrefixFrom(a, a.BitLen())
		addr(Member{Net: net})
		for _, p := range s.Ports {
			port(Member{net, p.Protocol, p.Number})
		}
	}
}

// services has the endpoints of Services by EndpointSlice. For Services that sets are made of it also has the members.
type services struct {
	slices map[SliceName]*Slice
	byName map[spec.Service]*service // that have slices, or that sets are made of
	bound  int                       // of the size of a service
	// resized are the services that changed since TakeServiceChanges.
	resized map[spec.Service]resize
}

// resize is what happened to the size of a service since TakeServiceChanges.
type resize struct {
	before  int
	crossed bool // the bound, in either direction, perhaps more than once
}

type service struct {
	slices map[SliceName]*Slice
	size   int    // of all slices
	sets   []*Set // one for addresses, one for ports at most
	// addrs and ports count, while there are sets, the slices with each member. They are empty while the service is too
	// large.
	addrs, ports map[Member]int
}

func newServices() services {
	return services{slices: map[SliceName]*Slice{}, byName: map[spec.Service]*service{}, bound: MaxServiceMembers,
		resized: map[spec.Service]resize{}}
}

func (s *services) get(name spec.Service) *service {
	v := s.byName[name]
	if v == nil {
		v = &service{slices: map[SliceName]*Slice{}}
		s.byName[name] = v
	}
	return v
}

func (s *services) dropIfUnused(name spec.Service) {
	if v := s.byName[name]; v != nil && len(v.slices)+len(v.sets) == 0 {
		delete(s.byName, name)
	}
}

// oversized reports whether a service has too many members. None of them is used then.
func (s *services) oversized(v *service) bool { return v.size > s.bound }

// size returns the number of members of a service together, 0 if they are too many.
func (s *services) size(of spec.Service) int {
	if v := s.byName[of]; v != nil && !s.oversized(v) {
		return v.size
	}
	return 0
}

// members returns the members of a set in use.
func (s *services) members(of spec.Content) map[Member]int {
	v := s.byName[*of.Service]
	if of.WithPorts {
		return v.ports
	}
	return v.addrs
}

// use counts the members of a service for a set.
func (s *services) use(set *Set) {
	v := s.get(*set.Service)
	v.sets = append(v.sets, set)
	if len(v.sets) > 1 {
		return
	}
	v.addrs, v.ports = map[Member]int{}, map[Member]int{}
	if s.oversized(v) {
		return
	}
	for _, slice := range v.slices {
		v.count(slice, 1)
	}
}

// release reverses use.
func (s *services) release(set *Set) {
	v := s.byName[*set.Service]
	v.sets = compact.Without(v.sets, set)
	if len(v.sets) == 0 {
		v.addrs, v.ports = nil, nil
		s.dropIfUnused(*set.Service)
	}
}

// count counts the members of a slice n times more.
func (v *service) count(slice *Slice, n int) {
	add := func(m map[Member]int) func(Member) {
		return func(x Member) {
			m[x] += n
			if m[x] == 0 {
				delete(m, x)
			}
		}
	}
	slice.each(add(v.addrs), add(v.ports))
}

// SetSlice replaces an EndpointSlice; nil removes it. It reports whether the Service of the slice has too many members
// now. Whether it has is decided from all its slices together, so their order does not matter.
func (s *Sets) SetSlice(name SliceName, now *Slice) (oversized bool) {
	before := s.services.slices[name]
	if before != nil && (now == nil || now.Service != before.Service) {
		s.exchange(s.services.byName[before.Service], sliceChange{name: name, before: before})
		s.services.dropIfUnused(before.Service)
		delete(s.services.slices, name)
		before = nil
	}
	if now == nil {
		return false
	}
	v := s.services.get(now.Service)
	s.exchange(v, sliceChange{name, before, now})
	s.services.slices[name] = now
	return s.services.oversized(v)
}

// sliceChange replaces a slice of a service by another one. One of the two may be nil: the slice is new, or removed.
type sliceChange struct {
	name        SliceName
	before, now *Slice
}

func (s *Sets) exchange(v *service, c sliceChange) {
	was, size := s.services.oversized(v), v.size
	if c.before != nil {
		delete(v.slices, c.name)
		v.size -= c.before.size()
	}
	if c.now != nil {
		v.size += c.now.size()
	}
	is := s.services.oversized(v)
	if !was && c.before != nil {
		s.countSlice(v, c.before, -1)
	}
	if was != is {
		n := 1
		if is {
			n = -1
		}
		for _, other := range v.slices {
			s.countSlice(v, other, n)
		}
	}
	if c.now != nil {
		v.slices[c.name] = c.now
		if !is {
			s.countSlice(v, c.now, 1)
		}
	}
	of := c.before
	if of == nil {
		of = c.now
	}
	r, noted := s.services.resized[of.Service]
	if !noted {
		r.before = size
	}
	r.crossed = r.crossed || was != is
	s.services.resized[of.Service] = r
}

// countSlice counts the members of a slice n times more.
func (s *Sets) countSlice(v *service, slice *Slice, n int) {
	if len(v.sets) == 0 {
		return
	}
	note := func(withPorts bool) func(Member) {
		return func(m Member) {
			for _, set := range v.sets {
				if set.published && set.WithPorts == withPorts {
					s.count(set, m, int32(n))
				}
			}
		}
	}
	slice.each(note(false), note(true))
	v.count(slice, n)
}

// ServiceChange is a Service that has another number of members.
type ServiceChange struct {
	Service     spec.Service
	Before, Now int // the numbers of members; 0 if they are too many
	// Crossed is set if the Service got too many members, or no longer had them, at least once.
	Crossed bool
}

// TakeServiceChanges returns the Services whose numbers of members changed since the last call.
func (s *Sets) TakeServiceChanges() []ServiceChange {
	var changes []ServiceChange
	for name, r := range s.services.resized {
		c := ServiceChange{Service: name, Now: s.services.size(name), Crossed: r.crossed}
		if r.before <= s.services.bound {
			c.Before = r.before
		}
		if c.Crossed || c.Before != c.Now {
			changes = append(changes, c)
		}
	}
	if len(s.services.resized) > 0 {
		s.services.resized = map[spec.Service]resize{}
	}
	return changes
}

// Oversized reports whether a Service has too many members.
func (s *Sets) Oversized(name spec.Service) bool {
	v := s.services.byName[name]
	return v != nil && s.services.oversized(v)
}

// Slices returns the EndpointSlices of a Service, in no order.
func (s *Sets) Slices(name spec.Service) []SliceName {
	v := s.services.byName[name]
	if v == nil {
		return nil
	}
	names := make([]SliceName, 0, len(v.slices))
	for n := range maps.Keys(v.slices) {
		names = append(names, n)
	}
	return names
}

// ServiceHas reports whether a Service has a member: an address or, if the content is WithPorts, an address with a
// port. The set need not be in use.
func (s *Sets) ServiceHas(c spec.Content, m Member) bool {
	v := s.services.byName[*c.Service]
	if v == nil || s.services.oversized(v) {
		return false
	}
	found := false
	equals := func(x Member) { found = found || x == m }
	ignore := func(Member) {}
	for _, slice := range v.slices {
		if c.WithPorts {
			slice.each(ignore, equals)
		} else {
			slice.each(equals, ignore)
		}
	}
	return found
}

// BoundServices replaces MaxServiceMembers, for tests.
func (s *Sets) BoundServices(members int) { s.services.bound = members }
