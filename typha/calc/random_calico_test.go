package calc_test

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// expression gives a selector over label names.
func (r random) expression(depth int, names ...string) expr {
	name := pick(r, names...)
	if depth > 0 && r.chance(45) {
		a, b := r.expression(depth-1, names...), r.expression(depth-1, names...)
		return pick(r, expr{op: "&&", parts: []expr{a, b}}, expr{op: "||", parts: []expr{a, b}},
			expr{op: "!", parts: []expr{a}})
	}
	switch r.IntN(12) {
	case 0:
		return expr{op: "all"}
	case 1, 2:
		return expr{op: "has", label: name}
	case 3:
		return expr{op: "!", parts: []expr{{op: "has", label: name}}}
	case 4, 5:
		return expr{op: pick(r, "contains", "starts with", "ends with"), label: name,
			values: []string{pick(r, "a", "b", "ab")}}
	case 6, 7:
		return expr{op: pick(r, "in", "not in"), label: name, values: []string{r.value(), r.value()}}
	case 8:
		return expr{op: "!=", label: name, values: []string{r.value()}}
	}
	return expr{op: "==", label: name, values: []string{r.value()}}
}

// selector gives the text of a selector of endpoints and network sets.
func (r random) selector() string {
	x := r.expression(2, "app", "tier", "env", "app", "tier", "env", "none")
	if r.chance(12) { // labels that an endpoint has by where it belongs
		x = pick(r,
			expr{op: "==", label: "projectcalico.org/namespace", values: []string{r.namespaceName()}},
			expr{op: "has", label: "projectcalico.org/orchestrator"},
			expr{op: "in", label: "projectcalico.org/serviceaccount", values: []string{"sa0", "none"}},
			expr{op: "==", label: "pcns.projectcalico.org/name", values: []string{r.namespaceName()}},
			r.expression(1, "pcns.app", "pcns.env", "pcsa.tier", "pcsa.app"))
	}
	return r.unreadably(r.selectors.write(x))
}

// unreadably gives a text, and rarely one that is no selector.
func (r random) unreadably(text string) string {
	if r.chance(3) {
		return pick(r, "((", "has(", "app = 'aa'", "app == aa")
	}
	return text
}

func (r random) spaceSelector(global bool) string {
	x := r.expression(1, "app", "tier", "env")
	switch {
	case r.chance(20):
		x = expr{op: "==", label: pick(r, "projectcalico.org/name", "kubernetes.io/metadata.name"),
			values: []string{r.namespaceName()}}
	case global && r.chance(30):
		x = expr{op: "global"}
	case global && r.chance(15):
		x = expr{op: "||", parts: []expr{{op: "global"}, x}}
	case r.chance(15):
		x = expr{op: "all"}
	}
	return r.unreadably(r.selectors.write(x))
}

func (r random) accountSelector() string {
	x := r.expression(1, "app", "tier")
	if r.chance(25) {
		x = expr{op: "==", label: "projectcalico.org/name", values: []string{pick(r, "sa0", "sa1")}}
	}
	return r.unreadably(r.selectors.write(x))
}

func (r random) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespaceName(),
		Name: pick(r, "sa0", "sa1"), Labels: r.labels()}}
}

func (r random) tier() *v3.Tier {
	t := &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: r.tierName()}}
	t.Spec.Order = pick(r, nil, pointer(500.0), pointer(500.0), pointer(5000.0), pointer(2_000_000.0),
		pointer(20_000_000.0))
	t.Spec.DefaultAction = pick(r, nil, pointer(v3.Deny), pointer(v3.Pass), pointer(v3.Pass))
	return t
}

func (r random) tierName() string {
	return pick(r, "t1", "t2", "t3", "t1", "t2", v3.DefaultTier, v3.DefaultTier, v3.DefaultTier, v3.KubeAdminTier,
		v3.KubeBaselineTier)
}

// order is never one that another kind of policy has, since ties between kinds are not documented.
func (r random) order() *float64 {
	return pick(r, nil, pointer(-1.5), pointer(10.5), pointer(10.5), pointer(20.5), pointer(999.5), pointer(1000.5))
}

func (r random) types() []v3.PolicyType {
	in, out := v3.PolicyTypeIngress, v3.PolicyTypeEgress
	return pick(r, nil, nil, []v3.PolicyType{in}, []v3.PolicyType{out}, []v3.PolicyType{in, out})
}

func (r random) calicoPolicy() *v3.NetworkPolicy {
	p := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: r.spaceName(),
		Name: fmt.Sprintf("cnp%d", r.IntN(3))}}
	p.Spec.Tier, p.Spec.Order, p.Spec.Types = r.tierName(), r.order(), r.types()
	if r.chance(75) {
		p.Spec.Selector = r.selector()
	}
	if r.chance(12) {
		p.Spec.ServiceAccountSelector = r.accountSelector()
	}
	p.Spec.Ingress, p.Spec.Egress = r.rules(v3.PolicyTypeIngress, true), r.rules(v3.PolicyTypeEgress, true)
	p.Spec.PerformanceHints = r.hints()
	return p
}

func (r random) hints() []v3.PolicyPerformanceHint {
	if r.chance(10) {
		return []v3.PolicyPerformanceHint{v3.PerfHintAssumeNeededOnEveryNode}
	}
	return nil
}

func (r random) globalPolicy() *v3.GlobalNetworkPolicy {
	p := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("gnp%d", r.IntN(4))}}
	p.Spec.Tier, p.Spec.Order, p.Spec.Types = r.tierName(), r.order(), r.types()
	if r.chance(75) {
		p.Spec.Selector = r.selector()
	}
	if r.chance(25) {
		p.Spec.NamespaceSelector = r.spaceSelector(false)
	}
	if r.chance(12) {
		p.Spec.ServiceAccountSelector = r.accountSelector()
	}
	p.Spec.Ingress, p.Spec.Egress = r.rules(v3.PolicyTypeIngress, false), r.rules(v3.PolicyTypeEgress, false)
	p.Spec.PerformanceHints = r.hints()
	switch r.IntN(8) {
	case 0, 1:
		p.Spec.ApplyOnForward, p.Spec.DoNotTrack = true, true
	case 2, 3:
		p.Spec.ApplyOnForward, p.Spec.PreDNAT, p.Spec.Egress, p.Spec.Types = true, true, nil, nil
	case 4, 5:
		p.Spec.ApplyOnForward = true
	}
	return p
}

func (r random) rules(direction v3.PolicyType, namespaced bool) (rules []v3.Rule) {
	for r.chance(65) {
		rules = append(rules, r.rule(direction, namespaced))
	}
	return rules
}

func (r random) rule(direction v3.PolicyType, namespaced bool) v3.Rule {
	rule := v3.Rule{Action: pick(r, v3.Allow, v3.Allow, v3.Allow, v3.Deny, v3.Deny, v3.Pass, v3.Log)}
	ports := false
	switch r.IntN(11) {
	case 0, 1, 2, 3, 4:
		rule.Protocol = pointer(pick(r, intstr.FromString("TCP"), intstr.FromString("TCP"), intstr.FromString("UDP"),
			intstr.FromString("SCTP"), intstr.FromInt32(6), intstr.FromInt32(17)))
		ports = true
	case 5, 8:
		r.icmp(&rule)
	case 6:
		rule.Protocol = pointer(pick(r, intstr.FromString("UDPLite"), intstr.FromInt32(47), intstr.FromInt32(136)))
		if r.chance(15) {
			rule.Protocol = pointer(pick(r, intstr.FromString("Carrier"), intstr.FromInt32(300)))
		}
	case 7:
		rule.NotProtocol = pointer(pick(r, intstr.FromString("TCP"), intstr.FromString("UDP"), intstr.FromInt32(132)))
	}
	if rule.Protocol == nil && r.chance(10) {
		rule.IPVersion = pointer(pick(r, 4, 6))
	}
	rule.Source, rule.Destination = r.entity(ports), r.entity(ports)
	if r.chance(18) {
		services := r.service()
		if namespaced && r.chance(40) || r.chance(3) {
			services.Namespace = "" // its own; of no use in a GlobalNetworkPolicy
		}
		if direction == v3.PolicyTypeIngress {
			rule.Source = v3.EntityRule{Services: services, Ports: rule.Source.Ports}
		} else {
			rule.Destination = v3.EntityRule{Services: services}
		}
	}
	return rule
}

func (r random) icmp(rule *v3.Rule) {
	rule.Protocol = pointer(pick(r, intstr.FromString("ICMP"), intstr.FromString("ICMPv6"), intstr.FromInt32(1)))
	fields := &v3.ICMPFields{Type: pointer(pick(r, 0, 8))}
	if r.chance(50) {
		fields.Code = pointer(r.IntN(2))
	}
	switch r.IntN(5) {
	case 0, 1:
		rule.NotICMP = fields
	case 2, 3:
		rule.ICMP = fields
	}
}

func (r random) entity(ports bool) (er v3.EntityRule) {
	if r.chance(35) {
		return er
	}
	nets := func() []string {
		return []string{r.net(), r.net()}[:1+r.IntN(2)]
	}
	switch r.IntN(8) {
	case 0, 1:
		er.Nets = nets()
	case 2:
		er.NotNets = nets()
	case 3, 4:
		er.Selector = r.selector()
		if r.chance(3) { // has no meaning there
			er.Selector = r.selectors.write(pick(r, expr{op: "global"}, expr{op: "!", parts: []expr{{op: "global"}}}))
		}
	case 5:
		er.NotSelector = r.selector()
	}
	if r.chance(15) {
		er.NamespaceSelector = r.spaceSelector(true)
	}
	if r.chance(10) {
		er.ServiceAccounts = pick(r,
			&v3.ServiceAccountMatch{Names: []string{pick(r, "sa0", "sa1", "none")}},
			&v3.ServiceAccountMatch{Names: []string{"sa0", "sa1"}, Selector: r.accountSelector()},
			&v3.ServiceAccountMatch{Selector: r.accountSelector()})
	}
	if ports && r.chance(25) {
		er.Ports = r.calicoPorts()
	}
	if ports && r.chance(18) {
		er.NotPorts = r.calicoPorts()
	}
	return er
}

func (r random) net() string {
	if r.chance(2) {
		return pick(r, "10.0.0.300/8", "nonsense", "10.0.0.0/33", "::ffff:10.0.0.0/123")
	}
	return pick(r, "10.0.0.0/24", "0.0.0.0/0", "192.168.0.1/30", "fd00::/64", "10.0.0.8/29", "192.168.0.2",
		"fd00::8/125", "172.30.0.0/24", "10.0.0.0/27", "192.168.9.0/31")
}

func (r random) calicoPorts() (ports []intstr.IntOrString) {
	for range 1 + r.IntN(2) {
		ports = append(ports, pick(r,
			intstr.FromInt32(80+int32(r.IntN(4))), intstr.FromString(fmt.Sprintf("%d:%d", 79+r.IntN(3), 81+r.IntN(3))),
			intstr.FromString("http"), intstr.FromString("dns")))
	}
	if r.chance(10) {
		ports = append(ports, pick(r, intstr.FromString("90:80"), intstr.FromInt32(70_000)))
	}
	return ports
}

func (r random) networkSet() *v3.NetworkSet {
	s := &v3.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: r.spaceName(), Name: fmt.Sprintf("set%d", r.IntN(2)),
		Labels: r.labels()}}
	s.Spec.Nets = r.setNets()
	return s
}

func (r random) globalNetworkSet() *v3.GlobalNetworkSet {
	s := &v3.GlobalNetworkSet{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("global%d", r.IntN(3)),
		Labels: r.labels()}}
	s.Spec.Nets = r.setNets()
	return s
}

func (r random) setNets() (nets []string) {
	for range r.IntN(3) {
		nets = append(nets, pick(r, "10.0.0.0/29", "192.168.0.0/30", "192.168.0.1", "fd00::/125", "fd00::3",
			"172.30.0.0/31", "10.0.1.0/24", "192.168.9.0/31"))
	}
	return nets
}

// service names a Service, mostly the same.
func (r random) service() *v3.ServiceMatch {
	if r.chance(60) {
		return &v3.ServiceMatch{Namespace: "ns0", Name: "svc0"}
	}
	return &v3.ServiceMatch{Namespace: r.namespaceName(), Name: pick(r, "svc0", "svc1")}
}

// slice gives the endpoints of a Service, one family in each.
func (r random) slice() *discoveryv1.EndpointSlice {
	of := r.service()
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: of.Namespace,
		Name:   fmt.Sprintf("%s-%d", of.Name, r.IntN(2)),
		Labels: map[string]string{"kubernetes.io/service-name": of.Name}}}
	s.AddressType = pick(r, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	for range 1 + r.IntN(3) {
		address := r.addr(s.AddressType == discoveryv1.AddressTypeIPv6).String()
		if s.AddressType == discoveryv1.AddressTypeIPv4 && r.chance(70) {
			// one that the other slice of the Service has too
			address = pick(r, "10.0.0.1", "10.0.0.2")
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	for range r.IntN(3) {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Port: pointer(80 + int32(r.IntN(4))),
			Protocol: pick(r, nil, pointer(corev1.ProtocolTCP), pointer(corev1.ProtocolUDP))})
	}
	return s
}

// hostEndpoint gives an endpoint with addresses that no other has.
func (r random) hostEndpoint() *v3.HostEndpoint {
	n := r.IntN(3)
	h := &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("hep%d", n), Labels: r.labels()}}
	h.Spec.Node, h.Spec.InterfaceName = pick(r, "n1", "n2", "n3"), pick(r, "eth0", "*", "")
	if h.Spec.InterfaceName == "" || r.chance(50) {
		h.Spec.ExpectedIPs = []string{fmt.Sprintf("172.30.0.%d", n)}
		if r.chance(30) {
			h.Spec.ExpectedIPs = append(h.Spec.ExpectedIPs, fmt.Sprintf("fd00::30:%d", n))
		}
	}
	h.Spec.Profiles = r.profileNames()
	for r.chance(30) {
		h.Spec.Ports = append(h.Spec.Ports, v3.EndpointPort{Name: pick(r, "http", "dns"), Port: 80 + uint16(r.IntN(4)),
			Protocol: intstr.FromString(pick(r, "TCP", "UDP"))})
	}
	return h
}

// spaceName gives a namespace of pods, or that of WorkloadEndpoints.
func (r random) spaceName() string {
	if r.chance(20) {
		return "etcd"
	}
	return r.namespaceName()
}

// workload gives an endpoint as an orchestrator without Kubernetes writes it, with addresses that nothing else has.
func (r random) workload() *v3.WorkloadEndpoint {
	n := r.IntN(4)
	w := &v3.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "etcd", Name: fmt.Sprintf("n1-cni-w%d-eth0", n),
		Labels: r.labels()}}
	w.Spec.Orchestrator = pick(r, "cni", "libnetwork")
	w.Labels["projectcalico.org/namespace"], w.Labels["projectcalico.org/orchestrator"] = "etcd", w.Spec.Orchestrator
	w.Spec.Workload, w.Spec.Endpoint = fmt.Sprintf("w%d", n), "eth0"
	w.Spec.Node, w.Spec.InterfaceName = "n1", fmt.Sprintf("cali%d", n)
	w.Spec.IPNetworks = []string{fmt.Sprintf("192.168.9.%d/32", n), fmt.Sprintf("fd00::9:%d/128", n)}[:1+r.IntN(2)]
	w.Spec.Profiles = r.profileNames()
	for r.chance(30) {
		w.Spec.Ports = append(w.Spec.Ports, v3.WorkloadEndpointPort{Name: pick(r, "http", "dns"),
			Port:     80 + uint16(r.IntN(4)),
			Protocol: intstr.FromString(pick(r, "TCP", "UDP"))})
	}
	return w
}

func (r random) profileNames() (names []string) {
	for _, name := range []string{"prof1", "none", "prof0", "kns.etcd", "projectcalico-default-allow"} {
		if r.chance(35) {
			names = append(names, name)
		}
	}
	return names
}

// profile gives labels that no other profile gives, since which would win is not documented.
func (r random) profile() *v3.Profile {
	p := &v3.Profile{ObjectMeta: metav1.ObjectMeta{Name: pick(r, "prof0", "prof0", "prof1", "prof1", "kns.etcd",
		"kns."+r.namespaceName())}}
	if r.chance(60) && !strings.HasPrefix(p.Name, "kns.") {
		p.Spec.LabelsToApply = map[string]string{map[string]string{"prof0": "app", "prof1": "tier"}[p.Name]: r.value()}
	}
	for n, rules := range []*[]v3.Rule{&p.Spec.Ingress, &p.Spec.Egress} {
		direction := []v3.PolicyType{v3.PolicyTypeIngress, v3.PolicyTypeEgress}[n]
		for range r.IntN(3) {
			rule := r.rule(direction, false)
			rule.Action = pick(r, v3.Allow, v3.Deny)
			*rules = append(*rules, rule)
		}
	}
	return p
}

func (r random) stagedAction() v3.StagedAction {
	return pick(r, "", v3.StagedActionSet, v3.StagedActionSet, v3.StagedActionSet, v3.StagedActionDelete,
		v3.StagedActionLearn, v3.StagedActionIgnore)
}

func (r random) stagedPolicy() *v3.StagedNetworkPolicy {
	p := r.calicoPolicy()
	return &v3.StagedNetworkPolicy{ObjectMeta: p.ObjectMeta, Spec: v3.StagedNetworkPolicySpec{
		StagedAction: r.stagedAction(), Tier: p.Spec.Tier, Order: p.Spec.Order, Types: p.Spec.Types,
		Selector:               p.Spec.Selector,
		ServiceAccountSelector: p.Spec.ServiceAccountSelector, Ingress: p.Spec.Ingress, Egress: p.Spec.Egress}}
}

func (r random) stagedGlobalPolicy() *v3.StagedGlobalNetworkPolicy {
	p := r.globalPolicy()
	return &v3.StagedGlobalNetworkPolicy{ObjectMeta: p.ObjectMeta, Spec: v3.StagedGlobalNetworkPolicySpec{
		StagedAction: r.stagedAction(), Tier: p.Spec.Tier, Order: p.Spec.Order, Types: p.Spec.Types,
		Selector:          p.Spec.Selector,
		NamespaceSelector: p.Spec.NamespaceSelector, ServiceAccountSelector: p.Spec.ServiceAccountSelector,
		ApplyOnForward: p.Spec.ApplyOnForward, DoNotTrack: p.Spec.DoNotTrack, PreDNAT: p.Spec.PreDNAT,
		Ingress: p.Spec.Ingress, Egress: p.Spec.Egress}}
}

func (r random) stagedKubernetesPolicy() *v3.StagedKubernetesNetworkPolicy {
	p := r.policy(r.namespaceName(), fmt.Sprintf("np%d", r.IntN(3)))
	return &v3.StagedKubernetesNetworkPolicy{ObjectMeta: p.ObjectMeta, Spec: v3.StagedKubernetesNetworkPolicySpec{
		StagedAction: r.stagedAction(), PodSelector: p.Spec.PodSelector, PolicyTypes: p.Spec.PolicyTypes,
		Ingress: p.Spec.Ingress, Egress: p.Spec.Egress}}
}
