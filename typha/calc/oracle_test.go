package calc_test

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// oracle judges flows straight from the resources, in the words of
// https://kubernetes.io/docs/concepts/services-networking/network-policies/ : slow and obvious, and sharing
// nothing with the engine.
type oracle struct {
	pods       []*corev1.Pod
	namespaces []*corev1.Namespace
	policies   []*networkingv1.NetworkPolicy
	blocks     []*v3.IPAMBlock
}

type flow struct {
	src, dst   netip.Addr
	protocol   corev1.Protocol
	port       int32
	srcp, dstp *corev1.Pod // nil: not a pod
}

// participates: host-network pods and pods that ended are not subject to policy.
func participates(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded
}

// owner gives the pod that has an address now.
func (o *oracle) owner(addr netip.Addr) *corev1.Pod {
	for _, b := range o.blocks {
		cidr := netip.MustParsePrefix(b.Spec.CIDR)
		if !cidr.Contains(addr) {
			continue
		}
		at := cidr.Addr()
		for _, index := range b.Spec.Allocations {
			if at == addr && index != nil {
				attrs := b.Spec.Attributes[*index].ActiveOwnerAttrs
				for _, p := range o.pods {
					if p.Namespace == attrs["namespace"] && p.Name == attrs["pod"] && participates(p) &&
						(attrs["uid"] == "" || attrs["uid"] == string(p.UID)) {
						return p
					}
				}
			}
			at = at.Next()
		}
		return nil
	}
	var best *corev1.Pod
	for _, p := range o.pods {
		if participates(p) && hasStatusIP(p, addr) && (best == nil || newerPod(p, best)) {
			best = p
		}
	}
	return best
}

func hasStatusIP(p *corev1.Pod, addr netip.Addr) bool {
	for _, ip := range p.Status.PodIPs {
		if ip.IP == addr.String() {
			return true
		}
	}
	return false
}

// newerPod: of two pods that claim an address the one that is not terminating, then the younger one, has it.
func newerPod(p, q *corev1.Pod) bool {
	switch pt, qt := p.DeletionTimestamp != nil, q.DeletionTimestamp != nil; {
	case pt != qt:
		return qt
	case !p.CreationTimestamp.Equal(&q.CreationTimestamp):
		return p.CreationTimestamp.After(q.CreationTimestamp.Time)
	}
	return p.UID > q.UID
}

func (o *oracle) allows(f flow) bool {
	return o.directionAllows(f, networkingv1.PolicyTypeEgress) && o.directionAllows(f, networkingv1.PolicyTypeIngress)
}

func (o *oracle) directionAllows(f flow, direction networkingv1.PolicyType) bool {
	subject, peer, peerAddr := f.srcp, f.dstp, f.dst
	if direction == networkingv1.PolicyTypeIngress {
		subject, peer, peerAddr = f.dstp, f.srcp, f.src
	}
	if subject == nil || subject.Spec.NodeName == "" {
		return true
	}
	isolated := false
	for _, np := range o.policies {
		if np.Namespace != subject.Namespace || !selects(&np.Spec.PodSelector, subject.Labels) || !applies(np, direction) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, r := range np.Spec.Ingress {
				if o.peersMatch(np, r.From, peer, peerAddr) && portsMatch(r.Ports, f) {
					return true
				}
			}
		} else {
			for _, r := range np.Spec.Egress {
				if o.peersMatch(np, r.To, peer, peerAddr) && portsMatch(r.Ports, f) {
					return true
				}
			}
		}
	}
	return !isolated
}

func applies(np *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if np.Spec.PolicyTypes == nil {
		return direction == networkingv1.PolicyTypeIngress || len(np.Spec.Egress) > 0
	}
	for _, t := range np.Spec.PolicyTypes {
		if t == direction {
			return true
		}
	}
	return false
}

func selects(s *metav1.LabelSelector, on map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(on))
}

func (o *oracle) peersMatch(np *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, pod *corev1.Pod, addr netip.Addr) bool {
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
		if pod == nil {
			continue
		}
		if p.NamespaceSelector == nil {
			if pod.Namespace == np.Namespace && selects(p.PodSelector, pod.Labels) {
				return true
			}
			continue
		}
		podsMatch := p.PodSelector == nil || selects(p.PodSelector, pod.Labels)
		if podsMatch && len(p.NamespaceSelector.MatchLabels)+len(p.NamespaceSelector.MatchExpressions) == 0 {
			return true // all namespaces, the pod's own whatever is known of it
		}
		for _, ns := range o.namespaces {
			if ns.Name == pod.Namespace && selects(p.NamespaceSelector, ns.Labels) && podsMatch {
				return true
			}
		}
	}
	return false
}

func blockMatches(b *networkingv1.IPBlock, addr netip.Addr) bool {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil || !cidr.Contains(addr) {
		return false
	}
	for _, e := range b.Except {
		except, err := netip.ParsePrefix(e)
		if err != nil || except.Contains(addr) {
			return false
		}
	}
	return true
}

func portsMatch(ports []networkingv1.NetworkPolicyPort, f flow) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if protocol != f.protocol {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.Int && p.EndPort == nil:
			if p.Port.IntVal == f.port {
				return true
			}
		case p.Port.Type == intstr.Int:
			if p.Port.IntVal <= f.port && f.port <= *p.EndPort {
				return true
			}
		case f.dstp != nil:
			for _, c := range f.dstp.Spec.Containers {
				for _, cp := range c.Ports {
					if cp.Name == p.Port.StrVal && cp.ContainerPort == f.port && (cp.Protocol == protocol || cp.Protocol == "" && protocol == corev1.ProtocolTCP) {
						return true
					}
				}
			}
		}
	}
	return false
}

func at(second int64) metav1.Time { return metav1.NewTime(time.Unix(second, 0)) }
