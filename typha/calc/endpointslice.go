package calc

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

func (e *Engine) upsertEndpointSlice(o *discoveryv1.EndpointSlice) {
	name := sets.SliceName{Namespace: o.Namespace, Name: o.Name}
	e.setSliceProblem(name, e.sets.SetSlice(name, sliceOf(o)))
}

// setSliceProblem reports whether a slice is of a Service that has too many members.
func (e *Engine) setSliceProblem(name sets.SliceName, oversized bool) {
	reason := ""
	if oversized {
		reason = fmt.Sprintf("the slices of its Service have more than %d addresses and ports of addresses, "+
			"and none of them is used: spread them over several Services", sets.MaxServiceMembers)
	}
	e.problems.set(KindEndpointSlice, name.Namespace, name.Name, reason)
}

// sliceOf returns what a slice says. It returns nil for one that belongs to no Service or has names instead of
// addresses.
func sliceOf(o *discoveryv1.EndpointSlice) *sets.Slice {
	name := o.Labels[discoveryv1.LabelServiceName]
	if name == "" || o.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	s := &sets.Slice{Service: spec.Service{Namespace: o.Namespace, Name: name}}
	addrs := map[netip.Addr]struct{}{}
	for _, endpoint := range o.Endpoints {
		for _, text := range endpoint.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				addrs[a.Unmap().WithZone("")] = struct{}{}
			}
		}
	}
	s.Addrs = slices.Collect(maps.Keys(addrs))
	ports := map[sets.ServicePort]struct{}{}
	for _, p := range o.Ports {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		number, ok := spec.Protocol(protocol)
		if ok && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 {
			ports[sets.ServicePort{Protocol: number, Number: uint16(*p.Port)}] = struct{}{}
		}
	}
	s.Ports = slices.Collect(maps.Keys(ports))
	return s
}
