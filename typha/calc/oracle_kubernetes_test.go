package calc_test

import (
	"net"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// kubernetes reads a NetworkPolicy of Kubernetes, in the words of
// https://kubernetes.io/docs/concepts/services-networking/network-policies/ . Calico puts it into the tier default,
// with order 1000. Peers that cannot be read match nothing: all rules allow.
func (o *oracle) kubernetes(at ref, np *networkingv1.NetworkPolicy) *statement {
	s := &statement{at: at, tier: v3.DefaultTier, order: 1000, rules: map[v3.PolicyType][]rule{},
		features: []string{"NetworkPolicy of Kubernetes"}}
	subject, readable := readableOf(&np.Spec.PodSelector)
	s.selects = func(e *entity) bool {
		return e.pod != nil && e.namespace == np.Namespace && selects(subject, e.own)
	}
	for _, d := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
		if applies(np, d) {
			s.directions = append(s.directions, v3.PolicyType(d))
		}
	}
	if !readable { // isolates the pods that it may have meant, and allows nothing
		return s
	}
	for _, r := range np.Spec.Ingress {
		s.rules[v3.PolicyTypeIngress] = append(s.rules[v3.PolicyTypeIngress],
			o.kubernetesRule(np, r.From, r.Ports, source))
	}
	for _, r := range np.Spec.Egress {
		s.rules[v3.PolicyTypeEgress] = append(s.rules[v3.PolicyTypeEgress],
			o.kubernetesRule(np, r.To, r.Ports, destination))
	}
	return s
}

// readableOf gives the parts of a selector that can be read, and whether that is all of it.
func readableOf(s *metav1.LabelSelector) (*metav1.LabelSelector, bool) {
	out := &metav1.LabelSelector{MatchLabels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		one := []metav1.LabelSelectorRequirement{e}
		if _, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: one}); err == nil {
			out.MatchExpressions = append(out.MatchExpressions, e)
		}
	}
	return out, len(out.MatchExpressions) == len(s.MatchExpressions)
}

func (o *oracle) kubernetesRule(np *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer,
	ports []networkingv1.NetworkPolicyPort, far end) rule {
	return rule{action: v3.Allow, parts: []part{
		{feature: "kubernetes peers", holds: func(f *flow) bool { return o.peersMatch(np, peers, far.addr(f)) }},
		{feature: "kubernetes ports", holds: func(f *flow) bool { return o.portsMatch(ports, f) }},
	}}
}

// end is one of the two ends of a flow.
type end struct{ name string }

var source, destination = end{"source"}, end{"destination"}

func (e end) addr(f *flow) netip.Addr {
	if e == source {
		return f.src
	}
	return f.dst
}

func (e end) port(f *flow) uint16 {
	if e == source {
		return f.sport
	}
	return f.dport
}

func applies(np *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(np.Spec.PolicyTypes) == 0 {
		return direction == networkingv1.PolicyTypeIngress || len(np.Spec.Egress) > 0
	}
	return slices.Contains(np.Spec.PolicyTypes, direction)
}

func selects(s *metav1.LabelSelector, on map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(on))
}

func (o *oracle) peersMatch(np *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer,
	addr netip.Addr) bool {
	if len(peers) == 0 {
		return true
	}
	for _, p := range peers {
		if p.IPBlock != nil {
			if blockMatches(p.IPBlock, addr) {
				return true
			}
			continue
		}
		pod := o.podAt(addr)
		if pod == nil {
			continue
		}
		if p.NamespaceSelector == nil {
			if pod.namespace == np.Namespace && selects(p.PodSelector, pod.own) {
				return true
			}
			continue
		}
		if (p.PodSelector == nil || selects(p.PodSelector, pod.own)) &&
			o.spaceSelected(p.NamespaceSelector, pod.namespace) {
			return true
		}
	}
	return false
}

// podAt gives the pod that has an address, or nil.
func (o *oracle) podAt(addr netip.Addr) *entity {
	for _, e := range o.at(addr) {
		if e.pod != nil {
			return e
		}
	}
	return nil
}

// workloadAt gives the workload that has an address, or nil.
func (o *oracle) workloadAt(addr netip.Addr) *entity {
	for _, e := range o.at(addr) {
		if e.workload != "" {
			return e
		}
	}
	return nil
}

// spaceSelected: an empty selector selects all namespaces, a pod's own whatever is known of it.
func (o *oracle) spaceSelected(s *metav1.LabelSelector, namespace string) bool {
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return true
	}
	ns := o.namespaces[namespace]
	return ns != nil && selects(s, ns.Labels)
}

// blockMatches reads CIDRs as the API server does, to which ::ffff:10.0.0.0/104 is 10.0.0.0/8.
func blockMatches(b *networkingv1.IPBlock, addr netip.Addr) bool {
	_, cidr, err := net.ParseCIDR(b.CIDR)
	if err != nil || !cidr.Contains(addr.AsSlice()) {
		return false
	}
	for _, e := range b.Except {
		_, except, err := net.ParseCIDR(e)
		if err != nil || except.Contains(addr.AsSlice()) {
			return false
		}
	}
	return true
}

func (o *oracle) portsMatch(ports []networkingv1.NetworkPolicyPort, f *flow) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		protocol := protocols["TCP"]
		if p.Protocol != nil {
			protocol = protocols[string(*p.Protocol)]
		}
		if protocol != f.protocol {
			continue
		}
		switch {
		case p.EndPort != nil && (p.Port == nil || p.Port.Type == intstr.String): // no range: cannot be read
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.Int && p.EndPort == nil:
			if p.Port.IntVal == int32(f.dport) {
				return true
			}
		case p.Port.Type == intstr.Int:
			if p.Port.IntVal <= int32(f.dport) && int32(f.dport) <= *p.EndPort {
				return true
			}
		default:
			if pod := o.podAt(f.dst); pod != nil && slices.Contains(pod.ports,
				namedPort{p.Port.StrVal, protocol, f.dport}) {
				return true
			}
		}
	}
	return false
}
