package calc_test

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// clusterPolicy gives each name a priority of its own: between policies of one priority "the implementation can apply
// any".
func (r random) clusterPolicy() *policyv1alpha2.ClusterNetworkPolicy {
	n := r.IntN(4)
	p := &policyv1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: []string{"z", "y", "x", "w"}[n]}}
	p.Spec.Tier = pick(r, policyv1alpha2.AdminTier, policyv1alpha2.BaselineTier)
	if r.chance(3) {
		p.Spec.Tier = "Other" // of a newer version
	}
	p.Spec.Priority = int32(5*n + r.IntN(5))
	if r.chance(50) {
		s := r.labelSelector()
		p.Spec.Subject.Namespaces = &s
	} else {
		p.Spec.Subject.Pods = r.namespacedPod()
	}
	action := func() policyv1alpha2.ClusterNetworkPolicyRuleAction {
		return pick(r, policyv1alpha2.ClusterNetworkPolicyRuleActionAccept,
			policyv1alpha2.ClusterNetworkPolicyRuleActionDeny, policyv1alpha2.ClusterNetworkPolicyRuleActionPass)
	}
	for r.chance(60) {
		rule := policyv1alpha2.ClusterNetworkPolicyIngressRule{Action: action(), Protocols: r.clusterProtocols()}
		for range 1 + r.IntN(2) {
			var peer policyv1alpha2.ClusterNetworkPolicyIngressPeer
			switch {
			case r.chance(2): // of a newer version
			case r.chance(50):
				s := r.labelSelector()
				peer.Namespaces = &s
			default:
				peer.Pods = r.namespacedPod()
			}
			rule.From = append(rule.From, peer)
		}
		p.Spec.Ingress = append(p.Spec.Ingress, rule)
	}
	for r.chance(60) {
		rule := policyv1alpha2.ClusterNetworkPolicyEgressRule{Action: action(), Protocols: r.clusterProtocols()}
		for range 1 + r.IntN(2) {
			rule.To = append(rule.To, r.egressPeer())
		}
		if slices.ContainsFunc(rule.To, func(p policyv1alpha2.ClusterNetworkPolicyEgressPeer) bool {
			return p.Namespaces == nil && p.Pods == nil
		}) {
			// "You can't use this in a rule that targets resources without named ports (e.g. Nodes or Networks)."
			rule.Protocols = slices.DeleteFunc(rule.Protocols,
				func(p policyv1alpha2.ClusterNetworkPolicyProtocol) bool { return p.DestinationNamedPort != "" })
		}
		p.Spec.Egress = append(p.Spec.Egress, rule)
	}
	return p
}

func (r random) namespacedPod() *policyv1alpha2.NamespacedPod {
	return &policyv1alpha2.NamespacedPod{NamespaceSelector: r.labelSelector(), PodSelector: r.labelSelector()}
}

func (r random) egressPeer() (peer policyv1alpha2.ClusterNetworkPolicyEgressPeer) {
	s := r.labelSelector()
	switch r.IntN(8) {
	case 0, 1:
		peer.Namespaces = &s
	case 2, 3:
		peer.Pods = r.namespacedPod()
	case 4, 5:
		peer.Nodes = &s
	default:
		peer.Networks = []policyv1alpha2.CIDR{policyv1alpha2.CIDR(pick(r, "10.0.0.0/24", "0.0.0.0/0", "fd00::/64",
			"172.30.0.0/31", "192.168.0.0/31"))}
		if r.chance(5) { // the CRD's rule, isCIDR, refuses it
			peer.Networks = append(peer.Networks, "::ffff:10.0.0.0/123")
		}
		if r.chance(15) {
			peer.Networks, peer.DomainNames = nil, []policyv1alpha2.DomainName{"*.example.com"}
		}
	}
	return peer
}

func (r random) clusterProtocols() (list []policyv1alpha2.ClusterNetworkPolicyProtocol) {
	for r.chance(45) {
		var p policyv1alpha2.ClusterNetworkPolicyProtocol
		port := pick(r, nil, &policyv1alpha2.Port{Number: 80 + int32(r.IntN(4))},
			&policyv1alpha2.Port{Range: &policyv1alpha2.PortRange{Start: 80, End: 82}})
		switch r.IntN(6) {
		case 0, 1:
			p.TCP = &policyv1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}
		case 2:
			p.UDP = &policyv1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}
		case 3:
			p.SCTP = &policyv1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: port}
		case 4:
			p.DestinationNamedPort = pick(r, "http", "dns")
		case 5:
			if r.chance(80) { // else of a newer version
				p.TCP = &policyv1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}
			}
		}
		list = append(list, p)
	}
	return list
}
