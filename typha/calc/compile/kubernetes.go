package compile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"

	"github.com/maneki-net/maneki/api/rule"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// kubernetesResource returns a policy of Kubernetes. It returns false for any other object.
func kubernetesResource(object metav1.Object) (resource, bool) {
	key := Key{Namespace: object.GetNamespace(), Name: object.GetName()}
	switch o := object.(type) {
	case *networkingv1.NetworkPolicy:
		key.Kind = KindNetworkPolicy
		return resource{key, kubernetesRules(&o.Spec), func(bare bool) Policy { return networkPolicy(o, bare) }}, true
	case *v3.StagedKubernetesNetworkPolicy:
		key.Kind = KindStagedKubernetesNetworkPolicy
		p := unstaged(o)
		return resource{key, kubernetesRules(&p.Spec), func(bare bool) Policy {
			c := networkPolicy(p, bare)
			c.Staged = stagedAction(o.Spec.StagedAction)
			return c
		}}, true
	case *policyv1alpha2.ClusterNetworkPolicy:
		key.Kind = KindClusterNetworkPolicy
		read := func(bare bool) Policy { return clusterNetworkPolicy(o, bare) }
		return resource{key, clusterRules(&o.Spec), read}, true
	}
	return resource{}, false
}

// unstaged returns a staged policy as a NetworkPolicy.
func unstaged(o *v3.StagedKubernetesNetworkPolicy) *networkingv1.NetworkPolicy {
	s := &o.Spec
	return &networkingv1.NetworkPolicy{ObjectMeta: o.ObjectMeta, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: s.PodSelector, Ingress: s.Ingress, Egress: s.Egress, PolicyTypes: s.PolicyTypes}}
}

// kubernetesOrder is the order of Kubernetes NetworkPolicies in the default tier.
var kubernetesOrder float64 = 1000

// networkPolicyCompiler collects the outcome of one NetworkPolicy.
type networkPolicyCompiler struct {
	namespace string
	subject   spec.Selector
	sets      sets
	reason    string // the first thing that cannot be used
}

// networkPolicy compiles a NetworkPolicy as the Kubernetes documentation defines it
// (https://kubernetes.io/docs/concepts/services-networking/network-policies/). If bare is set, it leaves the rules out.
func networkPolicy(o *networkingv1.NetworkPolicy, bare bool) Policy {
	c := networkPolicyCompiler{namespace: o.Namespace}
	pods, err := expression.FromLabelSelector(&o.Spec.PodSelector)
	if err != nil {
		pods = readable(&o.Spec.PodSelector)
	}
	c.subject = spec.Selector{Scope: spec.Pods, Namespace: o.Namespace, Expression: pods}
	out := Policy{
		Name: "knp.default/" + o.Namespace + "/" + o.Name, Tier: v3.DefaultTier, Order: &kubernetesOrder,
		Subject: c.subject,
	}
	out.AppliesToIngress, out.AppliesToEgress = directions(o)
	if err != nil {
		// The pods that remain selected are more than were meant. They are isolated, and nothing
		// is allowed to those that were not meant.
		out.Reason = fmt.Sprintf("spec.podSelector: %v; the policy denies all", err)
		return out
	}
	if bare {
		return out
	}
	for i, r := range o.Spec.Ingress {
		if out.AppliesToIngress {
			out.Ingress.add(i, c.rules(fmt.Sprintf("spec.ingress[%d]", i), r.From, r.Ports, true)...)
		}
	}
	for i, r := range o.Spec.Egress {
		if out.AppliesToEgress {
			out.Egress.add(i, c.rules(fmt.Sprintf("spec.egress[%d]", i), r.To, r.Ports, false)...)
		}
	}
	out.Sets, out.Reason = c.sets.list, c.reason
	return out
}

// readable returns a selector of the requirements that can be read.
func readable(s *metav1.LabelSelector) *expression.Selector {
	all := []*expression.Selector{}
	add := func(part metav1.LabelSelector) {
		if one, err := expression.FromLabelSelector(&part); err == nil {
			all = append(all, one)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		add(metav1.LabelSelector{MatchLabels: map[string]string{key: s.MatchLabels[key]}})
	}
	for _, r := range s.MatchExpressions {
		add(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}})
	}
	return expression.And(all...)
}

// inNamespaces returns a selector of the pods in the namespaces that a selector selects. A selector of all namespaces
// also selects pods whose namespace is not known.
func inNamespaces(s *metav1.LabelSelector) (*expression.Selector, error) {
	namespaces, err := expression.FromLabelSelector(s)
	if err != nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return namespaces, err
	}
	known := expression.Has(v3.NamespaceLabelPrefix + v3.LabelName)
	return expression.And(namespaces.Prefixed(v3.NamespaceLabelPrefix), known), nil
}

// directions returns the directions that policyTypes lists. The default is ingress, and egress if there are egress
// rules.
func directions(o *networkingv1.NetworkPolicy) (ingress, egress bool) {
	if len(o.Spec.PolicyTypes) == 0 {
		return true, len(o.Spec.Egress) > 0
	}
	return slices.Contains(o.Spec.PolicyTypes, networkingv1.PolicyTypeIngress),
		slices.Contains(o.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// complain sets the reason, unless there is one already.
func (c *networkPolicyCompiler) complain(format string, args ...any) {
	if c.reason == "" {
		c.reason = fmt.Sprintf(format, args...) + "; it matches nothing"
	}
}

// ports are those of one protocol that a rule allows; all is every port.
type ports struct {
	protocol uint8
	all      bool
	ranges   []wire.PortRange
	names    []string
}

// rules returns a wire rule for each peer and protocol of an ingress or egress rule.
func (c *networkPolicyCompiler) rules(
	path string, peers []networkingv1.NetworkPolicyPeer, list []networkingv1.NetworkPolicyPort, ingress bool,
) []wire.Rule {
	allowed := c.ports(path, list)
	if len(list) == 0 {
		allowed = []ports{{all: true}}
	}
	if len(peers) == 0 {
		return c.peerRules(peer{pods: spec.All(spec.Pods), any: true}, allowed, ingress)
	}
	var rules []wire.Rule
	for i, p := range peers {
		compiled, err := c.peer(p)
		if err != nil {
			c.complain("%s peer %d: %v", path, i, err)
			continue
		}
		rules = append(rules, c.peerRules(compiled, allowed, ingress)...)
	}
	return rules
}

// peer is one compiled peer: any address, a block, or pods.
type peer struct {
	any     bool
	block   netip.Prefix
	except  []netip.Prefix
	isBlock bool
	// pods are also those whose ports a named port of an egress rule can mean: all pods, for a peer that selects none.
	pods spec.Selector
}

func (c *networkPolicyCompiler) peer(p networkingv1.NetworkPolicyPeer) (peer, error) {
	switch {
	case p.IPBlock != nil && (p.PodSelector != nil || p.NamespaceSelector != nil):
		return peer{}, fmt.Errorf("ipBlock cannot be combined with selectors")
	case p.IPBlock != nil:
		out := peer{isBlock: true, pods: spec.All(spec.Pods)}
		var err error
		out.block, err = parseCIDR(p.IPBlock.CIDR)
		if err != nil {
			return peer{}, fmt.Errorf("ipBlock.cidr: %w", err)
		}
		for _, text := range p.IPBlock.Except {
			except, err := parseCIDR(text)
			if err != nil {
				return peer{}, fmt.Errorf("ipBlock.except: %w", err)
			}
			out.except = append(out.except, except)
		}
		return out, nil
	case p.PodSelector == nil && p.NamespaceSelector == nil:
		return peer{}, fmt.Errorf("none of podSelector, namespaceSelector and ipBlock is set")
	}
	pods, namespaces := expression.All(), expression.All()
	out := peer{}
	var err error
	if p.PodSelector != nil {
		pods, err = expression.FromLabelSelector(p.PodSelector)
		if err != nil {
			return peer{}, fmt.Errorf("podSelector: %w", err)
		}
	}
	if p.NamespaceSelector == nil {
		out.pods.Namespace = c.namespace
	} else {
		namespaces, err = inNamespaces(p.NamespaceSelector)
		if err != nil {
			return peer{}, fmt.Errorf("namespaceSelector: %w", err)
		}
	}
	out.pods.Scope, out.pods.Expression = spec.Pods, expression.And(namespaces, pods)
	return out, nil
}

// parseCIDR reads a prefix; bits beyond its length are ignored, as API servers before Kubernetes 1.36 allow them. To
// these ::ffff:10.0.0.0/104 is 10.0.0.0/8: as an IPv6 network it would except nothing from an IPv4 one.
func parseCIDR(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR such as 10.0.0.0/8: %w", text, err)
	}
	const mapped = 96 // bits before the IPv4 address
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), nil
}

// ports groups the ports of a rule by protocol.
func (c *networkPolicyCompiler) ports(path string, list []networkingv1.NetworkPolicyPort) []ports {
	byProtocol := map[uint8]*ports{}
	for i, entry := range list {
		protocol, known := uint8(rule.TCP), true
		if entry.Protocol != nil {
			protocol, known = spec.Protocol(*entry.Protocol)
		}
		if !known {
			c.complain("%s.ports[%d].protocol: %q is none of TCP, UDP, SCTP", path, i, *entry.Protocol)
			continue
		}
		group := byProtocol[protocol]
		if group == nil {
			group = &ports{protocol: protocol}
		}
		if err := group.add(entry); err != nil {
			c.complain("%s.ports[%d]: %v", path, i, err)
			continue
		}
		byProtocol[protocol] = group
	}
	var out []ports
	for _, protocol := range []uint8{rule.TCP, rule.UDP, rule.SCTP} {
		if group := byProtocol[protocol]; group != nil {
			out = append(out, *group)
		}
	}
	return out
}

func (p *ports) add(entry networkingv1.NetworkPolicyPort) error {
	switch {
	case entry.Port == nil && entry.EndPort != nil:
		return fmt.Errorf("endPort needs port")
	case entry.Port == nil:
		p.all = true
	case entry.Port.Type == intstr.String && entry.EndPort != nil:
		return fmt.Errorf("endPort cannot be combined with the named port %q", entry.Port.StrVal)
	case entry.Port.Type == intstr.String && entry.Port.StrVal == "":
		return fmt.Errorf("port is an empty name")
	case entry.Port.Type == intstr.String:
		p.names = append(p.names, entry.Port.StrVal)
	default:
		first, last := entry.Port.IntVal, entry.Port.IntVal
		if entry.EndPort != nil {
			last = *entry.EndPort
		}
		if first < 1 || last > 65535 || last < first {
			return fmt.Errorf("%d to %d is not a range within 1 to 65535", first, last)
		}
		p.ranges = append(p.ranges, wire.PortRange{First: uint16(first), Last: uint16(last)})
	}
	return nil
}

// peerRules returns the wire rules for one peer, one for each protocol.
func (c *networkPolicyCompiler) peerRules(p peer, allowed []ports, ingress bool) []wire.Rule {
	var rules []wire.Rule
	for _, group := range allowed {
		r := wire.Rule{Action: wire.Allow, Protocol: group.protocol}
		var far wire.Match
		switch {
		case p.any:
		case p.isBlock:
			far.Nets, far.NotNets = []netip.Prefix{p.block}, p.except
			r.Family = 4
			if p.block.Addr().Is6() {
				r.Family = 6
			}
		default:
			far.Sets = []string{c.sets.add(spec.Networks(p.pods))}
		}
		if ingress {
			r.Src = far
			r.Dst.Ports, r.Dst.PortSets = c.destination(group, c.subject)
		} else {
			r.Dst = far
			r.Dst.Ports, r.Dst.PortSets = c.destination(group, p.pods)
		}
		rules = append(rules, r)
	}
	return rules
}

// destination returns what the ports of a rule match at the destination, where a named port is one of these pods.
func (c *networkPolicyCompiler) destination(p ports, pods spec.Selector) (ranges []wire.PortRange, sets []string) {
	if p.all {
		return nil, nil
	}
	for _, name := range p.names {
		sets = append(sets, c.sets.add(spec.NamedPorts(pods, name, p.protocol)))
	}
	return p.ranges, sets
}
