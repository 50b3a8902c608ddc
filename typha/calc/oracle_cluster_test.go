package calc_test

import (
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// cluster reads a ClusterNetworkPolicy, in the words of the comments of its API. The tiers Admin and Baseline are
// Calico's kube-admin and kube-baseline, and the priority is the order.
func (o *oracle) cluster(at ref, p *policyv1alpha2.ClusterNetworkPolicy) *statement {
	s := &statement{at: at, tier: v3.KubeAdminTier, order: float64(p.Spec.Priority), rules: map[v3.PolicyType][]rule{},
		features: []string{"ClusterNetworkPolicy " + string(p.Spec.Tier)}}
	if p.Spec.Tier == policyv1alpha2.BaselineTier {
		s.tier = v3.KubeBaselineTier
	}
	// One of a newer version: nobody knows what its rules come before.
	unknown := p.Spec.Tier != policyv1alpha2.AdminTier && p.Spec.Tier != policyv1alpha2.BaselineTier
	s.selects = func(e *entity) bool {
		return e.pod != nil && o.podsMatch(e, p.Spec.Subject.Namespaces, p.Spec.Subject.Pods)
	}
	for _, r := range p.Spec.Ingress {
		var peers []clusterPeer
		for _, from := range r.From {
			peers = append(peers, clusterPeer{namespaces: from.Namespaces, pods: from.Pods})
		}
		s.rules[v3.PolicyTypeIngress] = append(s.rules[v3.PolicyTypeIngress],
			o.clusterRule(r.Action, peers, r.Protocols, source))
	}
	for _, r := range p.Spec.Egress {
		var peers []clusterPeer
		for _, to := range r.To {
			peers = append(peers, clusterPeer{to.Namespaces, to.Pods, to.Nodes, to.Networks, len(to.DomainNames) > 0})
		}
		s.rules[v3.PolicyTypeEgress] = append(s.rules[v3.PolicyTypeEgress],
			o.clusterRule(r.Action, peers, r.Protocols, destination))
	}
	for _, list := range s.rules {
		for i := range list {
			if unknown {
				list[i].parts = append(list[i].parts, part{"tier", true, func(*flow) bool { return true }})
			}
		}
	}
	// "CNPs with no ingress rules do not affect ingress traffic", nor those with no egress rules egress.
	for direction := range s.rules {
		s.directions = append(s.directions, direction)
	}
	return s
}

type clusterPeer struct {
	namespaces  *metav1.LabelSelector
	pods        *policyv1alpha2.NamespacedPod
	nodes       *metav1.LabelSelector
	networks    []policyv1alpha2.CIDR
	domainNames bool
}

// readable: "if an implementation sees no fields are set … it should fail closed"; names of domains cannot be honoured.
func (p *clusterPeer) readable() bool {
	return (p.namespaces != nil || p.pods != nil || p.nodes != nil || len(p.networks) > 0) &&
		!slices.ContainsFunc(p.networks, func(c policyv1alpha2.CIDR) bool { return unreadable(string(c)) })
}

func (p *clusterPeer) feature() string {
	switch {
	case !p.readable():
		return "unusable peer"
	case p.namespaces != nil:
		return "peer namespaces"
	case p.pods != nil:
		return "peer pods"
	case p.nodes != nil:
		return "peer nodes"
	}
	return "peer networks"
}

func (o *oracle) clusterRule(action policyv1alpha2.ClusterNetworkPolicyRuleAction, peers []clusterPeer,
	list []policyv1alpha2.ClusterNetworkPolicyProtocol, far end) rule {
	out := rule{action: v3.Action(action)}
	if action == policyv1alpha2.ClusterNetworkPolicyRuleActionAccept {
		out.action = v3.Allow
	}
	broken := false
	for _, p := range peers {
		broken = broken || !p.readable()
		out.features = append(out.features, p.feature())
	}
	out.parts = append(out.parts, part{"cluster peers", broken, func(f *flow) bool {
		return broken || slices.ContainsFunc(peers, func(p clusterPeer) bool {
			return o.clusterPeerMatches(&p,
				far.addr(f))
		})
	}})
	if len(list) == 0 {
		return out
	}
	broken = slices.ContainsFunc(list, func(p policyv1alpha2.ClusterNetworkPolicyProtocol) bool {
		return p == policyv1alpha2.ClusterNetworkPolicyProtocol{}
	})
	out.parts = append(out.parts, part{"cluster protocols", broken, func(f *flow) bool {
		return broken || slices.ContainsFunc(list,
			func(p policyv1alpha2.ClusterNetworkPolicyProtocol) bool { return o.clusterProtocolMatches(&p, f) })
	}})
	return out
}

func (o *oracle) podsMatch(e *entity, namespaces *metav1.LabelSelector, pods *policyv1alpha2.NamespacedPod) bool {
	if namespaces != nil {
		return o.spaceSelected(namespaces, e.namespace)
	}
	return pods != nil && o.spaceSelected(&pods.NamespaceSelector, e.namespace) && selects(&pods.PodSelector, e.own)
}

func (o *oracle) clusterPeerMatches(p *clusterPeer, addr netip.Addr) bool {
	switch {
	case p.nodes != nil: // "matching on the IPs present in the node.Status.Addresses field of the node"
		for _, n := range o.nodes {
			for _, a := range n.Status.Addresses {
				if a.Address == addr.String() && selects(p.nodes, n.Labels) {
					return true
				}
			}
		}
		return false
	case len(p.networks) > 0:
		return slices.ContainsFunc(p.networks, func(c policyv1alpha2.CIDR) bool {
			return inAny([]string{string(c)},
				addr)
		})
	}
	pod := o.podAt(addr)
	return pod != nil && o.podsMatch(pod, p.namespaces, p.pods)
}

func (o *oracle) clusterProtocolMatches(p *policyv1alpha2.ClusterNetworkPolicyProtocol, f *flow) bool {
	switch {
	case p.TCP != nil:
		return f.protocol == protocols["TCP"] && clusterPortMatches(p.TCP.DestinationPort, f)
	case p.UDP != nil:
		return f.protocol == protocols["UDP"] && clusterPortMatches(p.UDP.DestinationPort, f)
	case p.SCTP != nil:
		return f.protocol == protocols["SCTP"] && clusterPortMatches(p.SCTP.DestinationPort, f)
	}
	pod := o.podAt(f.dst)
	return pod != nil && slices.Contains(pod.ports, namedPort{p.DestinationNamedPort, f.protocol, f.dport})
}

func clusterPortMatches(p *policyv1alpha2.Port, f *flow) bool {
	switch {
	case p == nil:
		return true
	case p.Range != nil:
		return p.Range.Start <= int32(f.dport) && int32(f.dport) <= p.Range.End
	}
	return p.Number == int32(f.dport)
}
