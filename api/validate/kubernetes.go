package validate

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// stagedKubernetesPolicy checks a policy as an API server checks the NetworkPolicy that it stages.
func stagedKubernetesPolicy(spec *field.Path, s *v3.StagedKubernetesNetworkPolicySpec) field.ErrorList {
	if s.StagedAction == v3.StagedActionDelete {
		if !equality.Semantic.DeepEqual(*s, v3.StagedKubernetesNetworkPolicySpec{StagedAction: s.StagedAction}) {
			return field.ErrorList{field.Forbidden(spec, "must say nothing else with stagedAction Delete: it "+
				"removes the policy of the same name")}
		}
		return nil
	}
	errs := labelSelector(spec.Child("podSelector"), &s.PodSelector)
	for i, r := range s.Ingress {
		at := spec.Child("ingress").Index(i)
		errs = append(errs, kubernetesPorts(at.Child("ports"), r.Ports)...)
		errs = append(errs, kubernetesPeers(at.Child("from"), r.From)...)
	}
	for i, r := range s.Egress {
		at := spec.Child("egress").Index(i)
		errs = append(errs, kubernetesPorts(at.Child("ports"), r.Ports)...)
		errs = append(errs, kubernetesPeers(at.Child("to"), r.To)...)
	}
	for i, t := range s.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			errs = append(errs, field.NotSupported(spec.Child("policyTypes").Index(i), t,
				[]networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}))
		}
	}
	return errs
}

func labelSelector(path *field.Path, s *metav1.LabelSelector) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
}

func kubernetesPorts(path *field.Path, ports []networkingv1.NetworkPolicyPort) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		at := path.Index(i)
		if p.Protocol != nil {
			switch *p.Protocol {
			case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
			default:
				errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol,
					[]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}))
			}
		}
		if p.Port == nil {
			if p.EndPort != nil {
				errs = append(errs, field.Required(at.Child("port"), "is needed with endPort"))
			}
			continue
		}
		port, err := rule.ParsePort(*p.Port)
		switch {
		case err != nil || port.Name == "" && p.Port.Type == intstr.String:
			errs = append(errs, field.Invalid(at.Child("port"), p.Port.String(), "must be a port from 1 to 65535, "+
				"or a name such as http"))
		case p.EndPort == nil:
		case port.Name != "":
			errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, "needs a port that is a number"))
		case *p.EndPort < int32(port.First) || *p.EndPort > 65535:
			errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, fmt.Sprintf("must be %d to 65535: "+
				"not less than port", port.First)))
		}
	}
	return errs
}

func kubernetesPeers(path *field.Path, peers []networkingv1.NetworkPolicyPeer) field.ErrorList {
	var errs field.ErrorList
	for i, p := range peers {
		at := path.Index(i)
		if p.PodSelector != nil {
			errs = append(errs, labelSelector(at.Child("podSelector"), p.PodSelector)...)
		}
		if p.NamespaceSelector != nil {
			errs = append(errs, labelSelector(at.Child("namespaceSelector"), p.NamespaceSelector)...)
		}
		switch selects := p.PodSelector != nil || p.NamespaceSelector != nil; {
		case !selects && p.IPBlock == nil:
			errs = append(errs, field.Required(at, "must have podSelector, namespaceSelector, both, or ipBlock"))
		case selects && p.IPBlock != nil:
			errs = append(errs, field.Forbidden(at, "ipBlock cannot be combined with a selector: make a peer for each"))
		case p.IPBlock != nil:
			errs = append(errs, ipBlock(at.Child("ipBlock"), p.IPBlock)...)
		}
	}
	return errs
}

func ipBlock(path *field.Path, b *networkingv1.IPBlock) field.ErrorList {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return field.ErrorList{field.Invalid(path.Child("cidr"), b.CIDR, "must be a network, for example 10.0.0.0/8")}
	}
	var errs field.ErrorList
	for i, text := range b.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil || except.Bits() <= cidr.Bits() || !cidr.Contains(except.Addr()) {
			errs = append(errs, field.Invalid(path.Child("except").Index(i), text, fmt.Sprintf("must be a network "+
				"within %s, and smaller", cidr)))
		}
	}
	return errs
}
