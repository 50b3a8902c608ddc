package calc_test

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
)

// calico reads a NetworkPolicy of Calico, in the words of
// https://docs.tigera.io/calico/latest/reference/resources/networkpolicy .
func (o *oracle) calico(at ref, p *v3.NetworkPolicy) *statement {
	s := o.calicoStatement(at, p.Spec.Tier, p.Spec.Order)
	s.features = append(s.features, "NetworkPolicy")
	s.directions = typesOf(p.Spec.Types, len(p.Spec.Ingress), len(p.Spec.Egress))
	o.calicoRules(s, p.Spec.Ingress, p.Spec.Egress, p.Namespace)
	subject, readable := o.selectors.read(p.Spec.Selector)
	byAccount := o.accountSelector(s, p.Spec.ServiceAccountSelector)
	o.failClosed(s, readable)
	s.selects = func(e *entity) bool {
		return e.workload != "" && e.namespace == p.Namespace && byAccount(e) &&
			(!readable || subject.holds(e.labels, false))
	}
	return s
}

// global reads a GlobalNetworkPolicy: it "applies to workload endpoint resources in all namespaces, and to host
// endpoint resources". A namespace selector "selects the namespace(s) to which this policy applies".
func (o *oracle) global(at ref, p *v3.GlobalNetworkPolicy) *statement {
	s := o.calicoStatement(at, p.Spec.Tier, p.Spec.Order)
	s.features = append(s.features, "GlobalNetworkPolicy")
	s.directions = typesOf(p.Spec.Types, len(p.Spec.Ingress), len(p.Spec.Egress))
	s.forward, s.preDNAT, s.untracked = p.Spec.ApplyOnForward, p.Spec.PreDNAT, p.Spec.DoNotTrack
	o.calicoRules(s, p.Spec.Ingress, p.Spec.Egress, "")
	subject, readable := o.selectors.read(p.Spec.Selector)
	spaces, spacesReadable := o.selectors.read(p.Spec.NamespaceSelector)
	if p.Spec.NamespaceSelector != "" {
		s.features = append(s.features, "policy namespaceSelector")
	}
	byAccount := o.accountSelector(s, p.Spec.ServiceAccountSelector)
	o.failClosed(s, readable && spacesReadable)
	s.selects = func(e *entity) bool {
		inSpace := p.Spec.NamespaceSelector == "" ||
			e.namespace != "" && (!spacesReadable || spaces.holds(e.spaceLabels, false))
		return inSpace && byAccount(e) && (!readable || subject.holds(e.labels, e.namespace == ""))
	}
	return s
}

func (o *oracle) calicoStatement(at ref, tier string, order *float64) *statement {
	s := &statement{at: at, tier: tier, order: math.Inf(1), rules: map[v3.PolicyType][]rule{}}
	if tier == "" {
		s.tier = v3.DefaultTier
	}
	if order != nil {
		s.order = *order
		s.features = append(s.features, "order")
	}
	return s
}

func (o *oracle) calicoRules(s *statement, ingress, egress []v3.Rule, namespace string) {
	for _, r := range ingress {
		s.rules[v3.PolicyTypeIngress] = append(s.rules[v3.PolicyTypeIngress], o.calicoRule(&r, namespace))
	}
	for _, r := range egress {
		s.rules[v3.PolicyTypeEgress] = append(s.rules[v3.PolicyTypeEgress], o.calicoRule(&r, namespace))
	}
}

// accountSelector "selects the service account(s) to which this policy applies".
func (o *oracle) accountSelector(s *statement, text string) func(*entity) bool {
	if text == "" {
		return func(*entity) bool { return true }
	}
	s.features = append(s.features, "policy serviceAccountSelector")
	x, readable := o.selectors.read(text)
	o.failClosed(s, readable)
	return func(e *entity) bool { return e.account != "" && (!readable || x.holds(e.accountLabels, false)) }
}

// failClosed: a policy whose subject cannot be read denies all that it may have meant.
func (o *oracle) failClosed(s *statement, readable bool) {
	if !readable {
		s.rules = map[v3.PolicyType][]rule{}
		for _, d := range s.directions {
			s.rules[d] = []rule{{action: v3.Deny, features: []string{"unusable subject"}}}
		}
	}
}

// typesOf is the table of defaults: "no rules: Ingress; ingress rules alone: Ingress; egress rules alone: Egress; both:
// both".
func typesOf(types []v3.PolicyType, ingress, egress int) []v3.PolicyType {
	switch {
	case len(types) > 0:
		return types
	case egress == 0:
		return []v3.PolicyType{v3.PolicyTypeIngress}
	case ingress == 0:
		return []v3.PolicyType{v3.PolicyTypeEgress}
	}
	return []v3.PolicyType{v3.PolicyTypeIngress, v3.PolicyTypeEgress}
}

// calicoRule reads a rule; namespace is the policy's, or empty.
func (o *oracle) calicoRule(r *v3.Rule, namespace string) rule {
	out := rule{action: r.Action}
	add := func(feature string, readable bool, holds func(*flow) bool) {
		if !readable {
			feature = "unusable " + feature
		}
		out.parts = append(out.parts, part{feature, !readable, holds})
	}
	if v := r.IPVersion; v != nil {
		add("ipVersion", *v == 4 || *v == 6, func(f *flow) bool { return f.src.Is4() == (*v == 4) })
	}
	number, readable := protocolOf(r.Protocol)
	if r.Protocol != nil {
		add("protocol", readable, func(f *flow) bool { return !readable || f.protocol == number })
	}
	if r.NotProtocol != nil {
		not, readable := protocolOf(r.NotProtocol)
		add("notProtocol", readable, func(f *flow) bool { return !readable || f.protocol != not })
	}
	icmp := number == 1 || number == 58
	if r.ICMP != nil {
		add("icmp", icmp, func(f *flow) bool { return !icmp || icmpMatches(r.ICMP, f) })
	}
	if r.NotICMP != nil {
		add("notICMP", icmp, func(f *flow) bool { return !icmp || !icmpMatches(r.NotICMP, f) })
	}
	if r.HTTP != nil { // "Application layer policy must be enabled to use this field."
		add("http", false, func(*flow) bool { return true })
	}
	portsAllowed := number == protocols["TCP"] || number == protocols["UDP"] || number == protocols["SCTP"]
	for far, er := range map[end]*v3.EntityRule{source: &r.Source, destination: &r.Destination} {
		for _, p := range o.entityParts(er, far, namespace, portsAllowed) {
			if p.broken {
				add(p.feature, false, p.holds)
			} else {
				add(far.name+" "+p.feature, true, p.holds)
			}
		}
	}
	return out
}

func protocolOf(p *intstr.IntOrString) (uint8, bool) {
	switch {
	case p == nil:
		return 0, false
	case p.Type == intstr.Int:
		return uint8(p.IntVal), p.IntVal >= 1 && p.IntVal <= 255
	}
	number, known := protocols[p.StrVal]
	return number, known
}

func icmpMatches(m *v3.ICMPFields, f *flow) bool {
	return (m.Type == nil || *m.Type == int(f.icmpType)) && (m.Code == nil || *m.Code == int(f.icmpCode))
}

// entityParts are the criteria for one end: "all match criteria must match for the rule as a whole to match a packet".
func (o *oracle) entityParts(er *v3.EntityRule, at end, namespace string, portsAllowed bool) (parts []part) {
	add := func(feature string, readable bool, holds func(*flow) bool) {
		parts = append(parts, part{feature, !readable, holds})
	}
	if len(er.Nets) > 0 {
		readable := !slices.ContainsFunc(er.Nets, unreadable)
		add("nets", readable, func(f *flow) bool { return !readable || inAny(er.Nets, at.addr(f)) })
	}
	if len(er.NotNets) > 0 {
		readable := !slices.ContainsFunc(er.NotNets, unreadable)
		add("notNets", readable, func(f *flow) bool { return !inAny(er.NotNets, at.addr(f)) })
	}
	isSelected := func(*entity) bool { return true }
	if er.Selector != "" || er.NamespaceSelector != "" || er.ServiceAccounts != nil {
		p := o.selected(er, namespace)
		add(p.feature, !p.broken, func(f *flow) bool { return slices.ContainsFunc(o.at(at.addr(f)), p.holds) })
		isSelected = p.holds
	}
	if len(er.Ports) > 0 {
		readable := portsAllowed && !slices.ContainsFunc(er.Ports, badPort)
		add("ports", readable, func(f *flow) bool { return !readable || o.portIn(er.Ports, at, isSelected, f) })
		if readable && slices.ContainsFunc(er.Ports, named) {
			add("named ports", true, func(*flow) bool { return true })
		}
	}
	if len(er.NotPorts) > 0 {
		readable := portsAllowed && !slices.ContainsFunc(er.NotPorts, badPort)
		known := slices.DeleteFunc(slices.Clone(er.NotPorts), badPort)
		add("notPorts", readable, func(f *flow) bool { return !portsAllowed || !o.portIn(known, at, isSelected, f) })
	}
	if er.NotSelector != "" {
		x, readable := o.selectors.read(er.NotSelector)
		add("notSelector", readable, func(f *flow) bool {
			return !readable || !slices.ContainsFunc(o.at(at.addr(f)),
				func(e *entity) bool { return x.holds(e.labels, e.namespace == "") })
		})
	}
	if er.Services != nil {
		readable := er.Services.Name != "" && (er.Services.Namespace != "" || namespace != "")
		matches := o.serviceMatches(er.Services, at, namespace)
		if readable && o.serviceSize(cmp.Or(er.Services.Namespace, namespace), er.Services.Name) > calc.ServiceBound {
			readable, matches = false, func(*flow) bool { return true }
		}
		add("services", readable, matches)
	}
	return parts
}

// selection is what selectors select. Of one that cannot be read nobody knows which it meant, but not more than there
// is.
type selection struct {
	feature string
	broken  bool
	holds   func(*entity) bool
}

// selected is selector, namespaceSelector and serviceAccounts together: "When both NamespaceSelector and another
// selector are defined on the same rule, then only workload endpoints that are matched by both selectors will be
// selected"; "if not defined then selectors apply to the NetworkPolicy's namespace", in a GlobalNetworkPolicy to all
// endpoints and network sets.
func (o *oracle) selected(er *v3.EntityRule, namespace string) selection {
	pods, readable := o.selectors.read(er.Selector)
	spaces, spacesReadable := o.selectors.read(er.NamespaceSelector)
	if pods.saysGlobal() { // "… is only valid in a namespaceSelector": the endpoints that it meant may be any
		pods, readable = expr{op: "all"}, false
	}
	out := selection{feature: "selector"}
	inScope := func(e *entity) bool { return namespace == "" || e.namespace == namespace }
	if er.NamespaceSelector != "" {
		out.feature = "namespaceSelector"
		if spaces.saysGlobal() {
			out.feature = "global()"
		}
		inScope = func(e *entity) bool {
			if !spacesReadable {
				return true
			}
			if e.namespace == "" {
				return spaces.saysGlobal() && spaces.holds(nil, true)
			}
			return spaces.holds(e.spaceLabels, false)
		}
	}
	byAccount := func(*entity) bool { return true }
	accountsReadable := true
	if m := er.ServiceAccounts; m != nil {
		out.feature = "serviceAccounts"
		var accounts expr
		accounts, accountsReadable = o.selectors.read(m.Selector)
		byAccount = func(e *entity) bool {
			return e.account != "" && (len(m.Names) == 0 || slices.Contains(m.Names, e.account)) &&
				(!accountsReadable || accounts.holds(e.accountLabels, false))
		}
	}
	out.broken = !readable || !spacesReadable || !accountsReadable
	out.holds = func(e *entity) bool {
		return inScope(e) && byAccount(e) && (!readable || pods.holds(e.labels, e.namespace == ""))
	}
	return out
}

func unreadable(net string) bool {
	_, ok := network(net)
	return !ok
}

// portRange reads "an exact (numeric) port" and "all (numeric) ports within the range start ≤ x ≤ end".
func portRange(p intstr.IntOrString) (first, last int, numeric bool) {
	if p.Type == intstr.Int {
		return int(p.IntVal), int(p.IntVal), true
	}
	low, high, isRange := strings.Cut(p.StrVal, ":")
	first, err := strconv.Atoi(low)
	if err != nil {
		return 0, 0, false
	}
	last = first
	if isRange {
		last, _ = strconv.Atoi(high)
	}
	return first, last, true
}

func badPort(p intstr.IntOrString) bool {
	first, last, numeric := portRange(p)
	return numeric && (first < 0 || last > 65535 || first > last) || !numeric && strings.ContainsAny(p.StrVal, ": ")
}

func named(p intstr.IntOrString) bool {
	_, _, numeric := portRange(p)
	return !numeric
}

// portIn: a named port is that of the endpoint which has the address, and which the selectors of the same end select.
func (o *oracle) portIn(ports []intstr.IntOrString, at end, isSelected func(*entity) bool, f *flow) bool {
	for _, p := range ports {
		if first, last, numeric := portRange(p); numeric {
			if port := int(at.port(f)); first <= port && port <= last {
				return true
			}
			continue
		}
		for _, e := range o.at(at.addr(f)) {
			if isSelected(e) && slices.Contains(e.ports, namedPort{p.StrVal, f.protocol, at.port(f)}) {
				return true
			}
		}
	}
	return false
}

// serviceSize is how many addresses, and addresses with a port, the slices of a Service have.
func (o *oracle) serviceSize(namespace, name string) (n int) {
	for _, s := range o.slices {
		if s.Namespace != namespace || s.Labels["kubernetes.io/service-name"] != name {
			continue
		}
		addrs, ports := map[string]bool{}, map[string]bool{}
		for _, endpoint := range s.Endpoints {
			for _, text := range endpoint.Addresses {
				addrs[text] = true
			}
		}
		for _, p := range s.Ports {
			protocol := "TCP"
			if p.Protocol != nil {
				protocol = string(*p.Protocol)
			}
			ports[fmt.Sprint(protocol, *p.Port)] = true
		}
		n += len(addrs) * (1 + len(ports))
	}
	return n
}

// serviceMatches: the endpoints of a Service, and as destination their ports.
func (o *oracle) serviceMatches(m *v3.ServiceMatch, at end, namespace string) func(*flow) bool {
	if m.Namespace != "" {
		namespace = m.Namespace
	}
	return func(f *flow) bool {
		for _, s := range o.slices {
			if s.Namespace != namespace || s.Labels["kubernetes.io/service-name"] != m.Name {
				continue
			}
			for _, endpoint := range s.Endpoints {
				if !slices.ContainsFunc(endpoint.Addresses,
					func(text string) bool { return netip.MustParseAddr(text) == at.addr(f) }) {
					continue
				}
				if at == source {
					return true
				}
				for _, p := range s.Ports {
					protocol := protocols["TCP"]
					if p.Protocol != nil {
						protocol = protocols[string(*p.Protocol)]
					}
					if protocol == f.protocol && *p.Port == int32(f.dport) {
						return true
					}
				}
			}
		}
		return false
	}
}
