package compile

import (
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/maneki-net/maneki/api/rule"
	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// clusterCompiler collects the outcome of one ClusterNetworkPolicy
// (https://network-policy-api.sigs.k8s.io/reference/spec/).
type clusterCompiler struct {
	calicoCompiler
	tierless bool // the tier is not known, so that no rule can be used
}

// clusterNetworkPolicy compiles a ClusterNetworkPolicy. If bare is set, it leaves the rules out.
func clusterNetworkPolicy(o *policyv1alpha2.ClusterNetworkPolicy, bare bool) Policy {
	c := clusterCompiler{}
	path := field.NewPath("spec")
	tier := v3.KubeAdminTier
	switch o.Spec.Tier {
	case policyv1alpha2.AdminTier:
	case policyv1alpha2.BaselineTier:
		tier = v3.KubeBaselineTier
	default: // of a newer version: the place of its rules in the order is not known
		c.tierless = true
		err := field.NotSupported(path.Child("tier"), o.Spec.Tier, []string{"Admin", "Baseline"})
		err.Detail += "; it accepts nothing, and a rule that denies or passes denies all"
		c.errs = append(c.errs, err)
	}
	order := float64(o.Spec.Priority)
	out := Policy{
		Name: "kcnp." + tier + "/" + o.Name, Tier: tier, Order: &order,
		AppliesToIngress: len(o.Spec.Ingress) > 0, AppliesToEgress: len(o.Spec.Egress) > 0,
	}
	subject, err := podsIn(o.Spec.Subject.Namespaces, o.Spec.Subject.Pods)
	if err != nil {
		// The subject selects more pods than was meant. These are isolated, and nothing is allowed to them.
		reason := err.Error() + "; the policy denies all"
		c.errs = append(c.errs, field.Invalid(path.Child("subject"), field.OmitValueType{}, reason))
		subject.Expression = readableSubject(o.Spec.Subject)
	}
	c.subject, out.Subject = subject, subject
	if !bare {
		c.clusterRules(&out, path, o)
	}
	out.Sets, out.Reason = c.sets.list, Reason(c.errs)
	if err != nil {
		out.denyAll()
	}
	return out
}

// clusterRules compiles the rules of both directions.
func (c *clusterCompiler) clusterRules(out *Policy, path *field.Path, o *policyv1alpha2.ClusterNetworkPolicy) {
	for i, r := range o.Spec.Ingress {
		var peers []clusterPeer
		for _, p := range r.From {
			peers = append(peers, clusterPeer{namespaces: p.Namespaces, pods: p.Pods})
		}
		rule := clusterRule{true, r.Action, peers, r.Protocols}
		out.Ingress.add(i, c.clusterRule(path.Child("ingress").Index(i), rule)...)
	}
	for i, r := range o.Spec.Egress {
		var peers []clusterPeer
		for _, p := range r.To {
			peers = append(peers, clusterPeer{p.Namespaces, p.Pods, p.Nodes, p.Networks, p.DomainNames})
		}
		rule := clusterRule{false, r.Action, peers, r.Protocols}
		out.Egress.add(i, c.clusterRule(path.Child("egress").Index(i), rule)...)
	}
}

// podsIn returns the pods that namespaces or pods select, whichever is set. After an error its Expression is not set.
func podsIn(namespaces *metav1.LabelSelector, pods *policyv1alpha2.NamespacedPod) (spec.Selector, error) {
	out := spec.Selector{Scope: spec.Pods}
	switch {
	case (namespaces == nil) == (pods == nil):
		return out, fmt.Errorf("exactly one of namespaces and pods has to be set")
	case namespaces != nil:
		s, err := inNamespaces(namespaces)
		out.Expression = s
		return out, err
	}
	in, err := inNamespaces(&pods.NamespaceSelector)
	if err != nil {
		return out, fmt.Errorf("pods.namespaceSelector: %w", err)
	}
	own, err := expression.FromLabelSelector(&pods.PodSelector)
	if err != nil {
		return out, fmt.Errorf("pods.podSelector: %w", err)
	}
	out.Expression = expression.And(in, own)
	return out, nil
}

// readableSubject returns the pods that a subject selects without the parts that cannot be read.
func readableSubject(s policyv1alpha2.ClusterNetworkPolicySubject) *expression.Selector {
	switch {
	case s.Namespaces != nil && s.Pods == nil:
		return readable(s.Namespaces).Prefixed(v3.NamespaceLabelPrefix)
	case s.Pods != nil && s.Namespaces == nil:
		namespaces := readable(&s.Pods.NamespaceSelector).Prefixed(v3.NamespaceLabelPrefix)
		return expression.And(namespaces, readable(&s.Pods.PodSelector))
	}
	return expression.All()
}

// clusterPeer is a peer of either direction. Exactly one of its parts has to be set.
type clusterPeer struct {
	namespaces  *metav1.LabelSelector
	pods        *policyv1alpha2.NamespacedPod
	nodes       *metav1.LabelSelector
	networks    []policyv1alpha2.CIDR
	domainNames []policyv1alpha2.DomainName
}

// clusterEnd is a compiled peer.
type clusterEnd struct {
	match wire.Match
	// owners are the items that a named port can belong to.
	owners spec.Selector
}

// clusterRule is a rule of either direction.
type clusterRule struct {
	ingress   bool
	action    policyv1alpha2.ClusterNetworkPolicyRuleAction
	peers     []clusterPeer
	protocols []policyv1alpha2.ClusterNetworkPolicyProtocol
}

var clusterActions = map[policyv1alpha2.ClusterNetworkPolicyRuleAction]wire.Action{
	policyv1alpha2.ClusterNetworkPolicyRuleActionAccept: wire.Allow,
	policyv1alpha2.ClusterNetworkPolicyRuleActionDeny:   wire.Deny,
	policyv1alpha2.ClusterNetworkPolicyRuleActionPass:   wire.Pass,
}

// clusterRule returns a wire rule for each peer and protocol. It returns none for an unusable rule that accepts, and a
// rule that denies everything for one that denies or passes.
func (c *clusterCompiler) clusterRule(path *field.Path, r clusterRule) []wire.Rule {
	var errs field.ErrorList
	action, known := clusterActions[r.action]
	if !known {
		errs = append(errs, field.NotSupported(path.Child("action"), r.action, []string{"Accept", "Deny", "Pass"}))
	}
	saved := len(c.sets.list)
	ends := c.clusterEnds(path, r, &errs)
	ports := clusterPorts(path.Child("protocols"), r.protocols, &errs)
	if len(errs) > 0 || c.tierless {
		c.sets.truncate(saved)
		closed := !known || action != wire.Allow
		c.unusable(errs, closed)
		if !closed {
			return nil
		}
		return denyAll
	}
	var rules []wire.Rule
	for _, end := range ends {
		for _, port := range ports {
			rules = append(rules, c.wireRule(action, end, port, r.ingress))
		}
	}
	return rules
}

// clusterEnds compiles the peers of a rule.
func (c *clusterCompiler) clusterEnds(path *field.Path, r clusterRule, errs *field.ErrorList) []clusterEnd {
	side := path.Child("to")
	if r.ingress {
		side = path.Child("from")
	}
	if len(r.peers) == 0 {
		*errs = append(*errs, field.Required(side, "at least one peer"))
	}
	var ends []clusterEnd
	for i, p := range r.peers {
		end, err := c.peer(p)
		if err != nil {
			*errs = append(*errs, field.Invalid(side.Index(i), field.OmitValueType{}, err.Error()))
			continue
		}
		ends = append(ends, end)
	}
	return ends
}

// clusterPorts returns the ports of a rule, at least one unless something cannot be read: a rule without protocols
// means all ports of all protocols.
func clusterPorts(
	path *field.Path, protocols []policyv1alpha2.ClusterNetworkPolicyProtocol, errs *field.ErrorList,
) []clusterPort {
	if len(protocols) == 0 {
		return []clusterPort{{}}
	}
	var ports []clusterPort
	for i, p := range protocols {
		read, err := readClusterPort(p)
		if err != nil {
			*errs = append(*errs, field.Invalid(path.Index(i), field.OmitValueType{}, err.Error()))
		}
		ports = append(ports, read...)
	}
	return ports
}

// wireRule returns the rule for one peer and one port.
func (c *clusterCompiler) wireRule(action wire.Action, end clusterEnd, port clusterPort, ingress bool) wire.Rule {
	out := wire.Rule{Action: action, Protocol: port.protocol, Dst: end.match}
	owners := end.owners
	if ingress {
		out.Src, out.Dst = end.match, wire.Match{}
		owners = c.subject
	}
	if port.name != "" {
		out.Dst.PortSets = []string{c.sets.add(spec.NamedPorts(owners, port.name, port.protocol))}
	} else if port.ports.Last > 0 {
		out.Dst.Ports = []wire.PortRange{port.ports}
	}
	return out
}

// peer compiles one peer.
func (c *clusterCompiler) peer(p clusterPeer) (clusterEnd, error) {
	set := 0
	for _, is := range []bool{
		p.namespaces != nil, p.pods != nil, p.nodes != nil, p.networks != nil, p.domainNames != nil,
	} {
		if is {
			set++
		}
	}
	end := clusterEnd{owners: spec.All(spec.Pods)}
	switch {
	case len(p.domainNames) > 0:
		return end, fmt.Errorf("domainNames: names are not resolved")
	case set != 1:
		return end, fmt.Errorf("exactly one of namespaces, pods, nodes and networks has to be set")
	case p.networks != nil:
		for _, text := range p.networks {
			net, err := netip.ParsePrefix(string(text))
			if err != nil || net.Addr().Is4In6() {
				return end, fmt.Errorf("networks: %q is not a network such as 10.0.0.0/8", text)
			}
			end.match.Nets = append(end.match.Nets, net.Masked())
		}
		if len(p.networks) == 0 {
			return end, fmt.Errorf("networks: at least one is needed")
		}
		return end, nil
	case p.nodes != nil:
		nodes, err := expression.FromLabelSelector(p.nodes)
		if err != nil {
			return end, fmt.Errorf("nodes: %w", err)
		}
		end.match.Sets = []string{c.sets.add(spec.Networks(spec.Selector{Scope: spec.Nodes, Expression: nodes}))}
		return end, nil
	}
	pods, err := podsIn(p.namespaces, p.pods)
	if err != nil {
		return end, err
	}
	end.owners = pods
	end.match.Sets = []string{c.sets.add(spec.Networks(pods))}
	return end, nil
}

// clusterPort is the ports of one protocol: a range of them, those with a name, or all if neither is set.
type clusterPort struct {
	protocol uint8
	ports    wire.PortRange
	name     string
}

// readClusterPort returns a clusterPort for each protocol that is meant.
func readClusterPort(p policyv1alpha2.ClusterNetworkPolicyProtocol) ([]clusterPort, error) {
	var out []clusterPort
	add := func(protocol uint8, port *policyv1alpha2.Port) error {
		one := clusterPort{protocol: protocol}
		var first, last int32
		switch {
		case port == nil:
			out = append(out, one)
			return nil
		case port.Range != nil && port.Number != 0:
			return fmt.Errorf("destinationPort: number and range exclude each other")
		case port.Range != nil:
			first, last = port.Range.Start, port.Range.End
		default:
			first, last = port.Number, port.Number
		}
		if first < 1 || last > 65535 || last < first {
			return fmt.Errorf("destinationPort: %d to %d is not a range within 1 to 65535", first, last)
		}
		one.ports = wire.PortRange{First: uint16(first), Last: uint16(last)}
		out = append(out, one)
		return nil
	}
	set := 0
	var err error
	if p.TCP != nil {
		set++
		err = add(rule.TCP, p.TCP.DestinationPort)
	}
	if p.UDP != nil && err == nil {
		set++
		err = add(rule.UDP, p.UDP.DestinationPort)
	}
	if p.SCTP != nil && err == nil {
		set++
		err = add(rule.SCTP, p.SCTP.DestinationPort)
	}
	if p.DestinationNamedPort != "" {
		set++
		for _, protocol := range []uint8{rule.TCP, rule.UDP, rule.SCTP} {
			out = append(out, clusterPort{protocol: protocol, name: p.DestinationNamedPort})
		}
	}
	if err == nil && set != 1 {
		err = fmt.Errorf("exactly one of tcp, udp, sctp and destinationNamedPort has to be set")
	}
	return out, err
}
