package calc

import (
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// maxServiceMembers is how many addresses, and pairs of an address and a port, the EndpointSlices of a Service may name
// together. One slice of the largest size in Kubernetes names hundreds of millions, because each port belongs to each
// address. A Service with more has no members at all, whichever slice came first, and no rule that names it can be used.
const maxServiceMembers = 1 << 17

var tooManyMembers = fmt.Sprintf("the slices of its Service have more than %d addresses and ports of addresses, "+
	"and none of them is used: spread them over several Services", maxServiceMembers)

// services has the endpoints of Services by EndpointSlice. For Services that rules name it also has the members of
// sets.
type services struct {
	slices map[resourceName]*slice
	names  map[spec.Service]*service // that have slices, or that rules name
	bound  int                       // maxServiceMembers but in tests
	// resized is set when a Service got too many members, or no longer has them.
	resized bool
}

// slice is what one EndpointSlice says.
type slice struct {
	name    resourceName
	service spec.Service
	addrs   []netip.Addr
	ports   []namedPort
}

// size returns how many members the slice has, with and without ports.
func (s *slice) size() int { return len(s.addrs) * (1 + len(s.ports)) }

type service struct {
	slices map[resourceName]*slice
	size   int      // of all slices
	bound  int      // of the size
	sets   []*ipSet // one for addresses, one for ports at most
	// In use, how many slices have a member.
	addrs, ports map[member]int
}

// over reports whether the service has too many members. None of them is used then.
func (v *service) over() bool { return v.size > v.bound }

func newServices() services {
	return services{slices: map[resourceName]*slice{}, names: map[spec.Service]*service{}, bound: maxServiceMembers}
}

func (s *services) get(key spec.Service) *service {
	v := s.names[key]
	if v == nil {
		v = &service{slices: map[resourceName]*slice{}, bound: s.bound}
		s.names[key] = v
	}
	return v
}

// over reports whether a Service has too many members.
func (s *services) over(name spec.Service) bool {
	v := s.names[name]
	return v != nil && v.over()
}

func (s *services) dropIfUnused(key spec.Service) {
	if v := s.names[key]; v != nil && len(v.slices)+len(v.sets) == 0 {
		delete(s.names, key)
	}
}

// size returns the largest number of members that the sets of a service have.
func (s *services) size(of spec.Service) int {
	if v := s.names[of]; v != nil && !v.over() {
		return v.size
	}
	return 0
}

func (s *services) members(of spec.Content) map[member]int {
	v := s.names[*of.Service]
	switch {
	case v == nil:
		return nil
	case of.WithPorts:
		return v.ports
	}
	return v.addrs
}

// use makes the members of a service for a set.
func (s *services) use(key spec.Service, set *ipSet) {
	v := s.get(key)
	if v.sets = append(v.sets, set); len(v.sets) > 1 {
		return
	}
	v.addrs, v.ports = map[member]int{}, map[member]int{}
	if v.over() {
		return
	}
	for _, slice := range v.slices {
		slice.count(v, 1)
	}
}

func (s *services) release(key spec.Service, set *ipSet) {
	v := s.names[key]
	if v.sets = compact.Without(v.sets, set); len(v.sets) == 0 {
		v.addrs, v.ports = nil, nil
		s.dropIfUnused(key)
	}
}

// each passes the members of a slice.
func (s *slice) each(addr, port func(member)) {
	for _, a := range s.addrs {
		net := netip.PrefixFrom(a, a.BitLen())
		addr(member{net: net})
		for _, p := range s.ports {
			port(member{net, p.protocol, p.port})
		}
	}
}

func (s *slice) count(v *service, n int) {
	add := func(m map[member]int) func(member) {
		return func(x member) {
			if m[x] += n; m[x] == 0 {
				delete(m, x)
			}
		}
	}
	s.each(add(v.addrs), add(v.ports))
}

func (e *Engine) upsertEndpointSlice(o *discoveryv1.EndpointSlice) {
	e.setSlice(resourceName{o.Namespace, o.Name}, sliceOf(o))
}

// setSlice replaces a slice, by none if it is nil.
func (e *Engine) setSlice(key resourceName, now *slice) {
	before := e.services.slices[key]
	if before != nil && (now == nil || now.service != before.service) {
		e.exchange(e.services.names[before.service], before, nil)
		e.services.dropIfUnused(before.service)
		delete(e.services.slices, key)
		before = nil
	}
	if now != nil {
		e.exchange(e.services.get(now.service), before, now)
		e.services.slices[key] = now
	}
}

// exchange replaces a slice of a service. One of the two slices may be nil: the slice is then new, or deleted. Whether
// a service has too many members is decided from all its slices together, so their order does not matter.
func (e *Engine) exchange(v *service, before, now *slice) {
	wasOver, size := v.over(), v.size
	if before != nil {
		delete(v.slices, before.name)
		v.size -= before.size()
	}
	if now != nil {
		v.size += now.size()
	}
	isOver := v.over()
	e.services.resized = e.services.resized || wasOver != isOver
	e.tenants.recount = e.tenants.recount || wasOver != isOver || e.charge(size) != e.charge(v.size)
	if !wasOver && before != nil {
		e.changeSlice(v, before, -1)
	}
	if wasOver != isOver {
		e.judgeSlices(v, isOver)
	}
	if now == nil {
		e.judgeSlice(before, false)
		return
	}
	v.slices[now.name] = now
	e.judgeSlice(now, isOver)
	if !isOver {
		e.changeSlice(v, now, 1)
	}
}

// judgeSlices removes the members of a service that has become too large, or adds them again.
func (e *Engine) judgeSlices(v *service, over bool) {
	n := 1
	if over {
		n = -1
	}
	for _, slice := range v.slices {
		e.changeSlice(v, slice, n)
		e.judgeSlice(slice, over)
	}
}

func (e *Engine) judgeSlice(s *slice, over bool) {
	reason := ""
	if over {
		reason = tooManyMembers
	}
	e.problems.set(KindEndpointSlice, s.name.namespace, s.name.name, reason)
}

// changeSlice adds the members of a slice (n = 1) or removes them (n = -1).
func (e *Engine) changeSlice(v *service, s *slice, n int) {
	if len(v.sets) == 0 {
		return
	}
	note := func(byPort bool) func(member) {
		return func(m member) {
			for _, set := range v.sets {
				if set.HasPorts() == byPort {
					e.note(set, m)
				}
			}
		}
	}
	s.each(note(false), note(true))
	s.count(v, n)
}

// sliceOf returns nil for one that belongs to no Service or has names instead of addresses.
func sliceOf(o *discoveryv1.EndpointSlice) *slice {
	name := o.Labels[discoveryv1.LabelServiceName]
	if name == "" || o.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	s := &slice{name: resourceName{o.Namespace, o.Name}, service: spec.Service{Namespace: o.Namespace, Name: name}}
	seen := map[netip.Addr]struct{}{}
	for _, endpoint := range o.Endpoints {
		for _, text := range endpoint.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				seen[a.Unmap().WithZone("")] = struct{}{}
			}
		}
	}
	for a := range maps.Keys(seen) {
		s.addrs = append(s.addrs, a)
	}
	ports := map[namedPort]struct{}{}
	for _, p := range o.Ports {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		number, ok := spec.Protocol(protocol)
		if ok && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 {
			ports[namedPort{protocol: number, port: uint16(*p.Port)}] = struct{}{}
		}
	}
	for p := range ports {
		s.ports = append(s.ports, p)
	}
	return s
}
