package calc_test

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// oracle judges flows straight from the resources, in the words of their documentation: slow and obvious, and sharing
// nothing with the engine. What a policy says, each kind of policy in a file of its own, is a statement; the order in
// which statements are asked is that of https://docs.tigera.io/calico/latest/reference/resources/tier .
type oracle struct {
	pods       []*corev1.Pod
	namespaces map[string]*corev1.Namespace
	accounts   map[ref]*corev1.ServiceAccount
	nodes      []*corev1.Node
	slices     []*discoveryv1.EndpointSlice
	blocks     []*v3.IPAMBlock // those that count, once all is read
	pools      []*v3.IPPool
	hosts      []*v3.HostEndpoint
	sets       []*v3.NetworkSet
	globalSets []*v3.GlobalNetworkSet
	workloads  []*v3.WorkloadEndpoint
	profiles   map[string]*v3.Profile
	tiers      map[string]*v3.Tier
	statements []*statement
	selectors  selectors

	known      map[netip.Addr][]*entity // by address, once asked
	ofPod      map[*corev1.Pod]*entity
	ofWorkload map[*v3.WorkloadEndpoint]*entity
	asked      map[question][]stage
}

// flow is the first packet of a connection.
type flow struct {
	src, dst     netip.Addr
	protocol     uint8
	sport, dport uint16
	icmpType     uint8
	icmpCode     uint8
}

func (f *flow) String() string {
	return fmt.Sprintf("%s:%d -> %s:%d protocol %d type %d code %d", f.src, f.sport, f.dst, f.dport, f.protocol,
		f.icmpType, f.icmpCode)
}

// The numbers of protocols by the names that policies may use.
var protocols = map[string]uint8{"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}

// statement is what one policy says.
type statement struct {
	at         ref
	tier       string
	order      float64
	directions []v3.PolicyType
	selects    func(*entity) bool
	rules      map[v3.PolicyType][]rule
	// Of GlobalNetworkPolicies, for host endpoints.
	forward, preDNAT, untracked bool
	// features of the policy itself, for the coverage.
	features []string
}

// rule is an action and the parts that must all hold. A part that cannot be read is broken: holds is then the widest
// that may have been meant.
type rule struct {
	action   v3.Action
	parts    []part
	features []string
}

type part struct {
	feature string
	broken  bool
	holds   func(*flow) bool
}

// fit is what becomes of a packet at a rule.
type fit int

const (
	misses fit = iota
	hits
	either // the rule cannot be read, and may deny even what it did not mean
)

// meets says whether a packet fits a rule and with which action: in a rule that cannot be read Allow and Log match
// nothing, and Deny and Pass deny all that they may have meant. only is the one part that kept the packet out.
func (r *rule) meets(f *flow) (fit fit, action v3.Action, only string) {
	missed, broken := 0, false
	for _, p := range r.parts {
		broken = broken || p.broken
		if !p.holds(f) {
			missed, only = missed+1, p.feature
		}
	}
	switch restrictive := r.action == v3.Deny || r.action == v3.Pass; {
	case broken && !restrictive:
		return misses, r.action, ""
	case broken && missed > 0:
		return either, v3.Deny, ""
	case broken:
		return hits, v3.Deny, ""
	case missed == 1:
		return misses, r.action, only
	case missed > 1:
		return misses, r.action, ""
	}
	return hits, r.action, ""
}

// verdict is what becomes of a packet.
type verdict string

const (
	allowed   verdict = "allowed"
	denied    verdict = "denied"
	undecided verdict = "undecided" // goes on to what comes after
	unknown   verdict = "unknown"   // allowed or denied, both will do
)

// decision is a verdict and who gave it: a rule of a policy or profile, or the end of a tier.
type decision struct {
	verdict  verdict
	tier     string
	policy   *statement
	profile  string
	rule     int
	features []string // of what decided, and of those that were passed over by a single part
}

// chain is one of the places where policies are asked. Pods have the first alone.
type chain string

const (
	normal    chain = "normal"
	forward   chain = "forward"
	preDNAT   chain = "preDNAT"
	untracked chain = "untracked"
)

// has says whether a policy is asked in a chain: "applyOnForward indicates to apply the rules in this policy on
// forwarded traffic as well as to locally terminated traffic"; doNotTrack and preDNAT "are meaningful only when
// applying policy to a host endpoint".
func (c chain) has(s *statement, e *entity) bool {
	if e.host == nil {
		return c == normal
	}
	switch c {
	case untracked:
		return s.untracked
	case preDNAT:
		return s.preDNAT
	case forward:
		return s.forward && !s.preDNAT && !s.untracked
	}
	return !s.preDNAT && !s.untracked
}

// question is for which policies concern an entity.
type question struct {
	of        *entity
	direction v3.PolicyType
	chain     chain
}

// stage is a tier and the policies in it that concern an entity, in their order.
type stage struct {
	tier       string
	end        v3.Action
	statements []*statement
}

func (o *oracle) stages(q question) []stage {
	if found, ok := o.asked[q]; ok {
		return found
	}
	byTier := map[string][]*statement{}
	for _, s := range o.statements {
		if q.chain.has(s, q.of) && slices.Contains(s.directions, q.direction) && s.selects(q.of) {
			byTier[s.tier] = append(byTier[s.tier], s)
		}
	}
	var stages []stage
	for tier, statements := range byTier {
		slices.SortFunc(statements, func(a, b *statement) int {
			return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.at.name, b.at.name))
		})
		_, end := o.tier(tier)
		stages = append(stages, stage{tier, end, statements})
	}
	slices.SortFunc(stages, func(a, b stage) int {
		first, _ := o.tier(a.tier)
		second, _ := o.tier(b.tier)
		return cmp.Or(cmp.Compare(first, second), cmp.Compare(a.tier, b.tier))
	})
	o.asked[q] = stages
	return stages
}

// tier gives a tier's order, "smallest number first", without one last, and its default action.
func (o *oracle) tier(name string) (float64, v3.Action) {
	switch name {
	case v3.DefaultTier:
		return 1_000_000, v3.Deny
	case v3.KubeAdminTier:
		return 1_000, v3.Pass
	case v3.KubeBaselineTier:
		return 10_000_000, v3.Pass
	}
	order, end := math.Inf(1), v3.Deny
	if t := o.tiers[name]; t != nil {
		if t.Spec.Order != nil {
			order = *t.Spec.Order
		}
		if t.Spec.DefaultAction != nil {
			end = *t.Spec.DefaultAction
		}
	}
	return order, end
}

// decide asks the policies of one chain, and in the first chain the profiles after them.
func (o *oracle) decide(q question, f *flow) decision {
	var d decision
tiers:
	for _, stage := range o.stages(q) {
		for _, s := range stage.statements {
			for n, r := range s.rules[q.direction] {
				fit, action, only := r.meets(f)
				if only != "" {
					d.features = append(d.features, "not "+only)
				}
				if fit == hits && action == v3.Log {
					d.features = append(d.features, "action Log")
				}
				if fit == misses || action == v3.Log {
					continue
				}
				d.tier, d.policy, d.rule = stage.tier, s, n
				for _, p := range r.parts {
					d.features = append(d.features, p.feature)
				}
				d.features = append(append(append(d.features, r.features...), s.features...),
					"action "+string(r.action), "tier "+stage.tier)
				switch {
				case fit == either:
					d.verdict = unknown
					return d
				case action == v3.Pass:
					continue tiers
				}
				d.verdict = verdictOf(action)
				return d
			}
		}
		d.policy = nil
		if q.chain == preDNAT || q.chain == untracked || stage.end == v3.Pass {
			d.features = append(d.features, "end Pass")
			continue
		}
		d.features = append(d.features, "end Deny")
		d.verdict, d.tier = denied, stage.tier
		return d
	}
	d.policy, d.tier = nil, ""
	if q.chain != normal {
		d.verdict = undecided
		return d
	}
	return o.ask(q, f, d)
}

func verdictOf(a v3.Action) verdict {
	if a == v3.Allow {
		return allowed
	}
	return denied
}

// ask asks the profiles of an endpoint in their order. "What policies and profiles do not allow there is denied."
func (o *oracle) ask(q question, f *flow, d decision) decision {
	for _, name := range q.of.profiles {
		for n, r := range o.profileRules(q.of, name, q.direction) {
			fit, action, _ := r.meets(f)
			if fit == misses || action == v3.Log {
				continue
			}
			d.profile, d.rule, d.verdict = name, n, verdictOf(action)
			if fit == either {
				d.verdict = unknown
			}
			d.features = append(d.features, "profile")
			return d
		}
	}
	d.verdict = denied
	d.features = append(d.features, "no profile")
	return d
}

// profileRules: those of Kubernetes' namespaces allow what policies leave undecided, those of service accounts have no
// rules, projectcalico-default-allow "consists of allow-all ingress and egress rules". A Profile of the name says
// otherwise.
func (o *oracle) profileRules(of *entity, name string, direction v3.PolicyType) []rule {
	p := o.profiles[name]
	if p == nil {
		if name == "projectcalico-default-allow" || of.pod != nil && name == "kns."+of.namespace {
			return []rule{{action: v3.Allow}}
		}
		return nil
	}
	list := p.Spec.Ingress
	if direction == v3.PolicyTypeEgress {
		list = p.Spec.Egress
	}
	var rules []rule
	for _, r := range list {
		rules = append(rules, o.calicoRule(&r, ""))
	}
	return rules
}

func newOracle(live map[ref]metav1.Object, s selectors) *oracle {
	o := &oracle{
		namespaces: map[string]*corev1.Namespace{}, accounts: map[ref]*corev1.ServiceAccount{},
		profiles: map[string]*v3.Profile{}, tiers: map[string]*v3.Tier{}, selectors: s,
		known: map[netip.Addr][]*entity{}, ofPod: map[*corev1.Pod]*entity{},
		ofWorkload: map[*v3.WorkloadEndpoint]*entity{}, asked: map[question][]stage{},
	}
	for _, object := range live {
		switch x := object.(type) {
		case *corev1.Pod:
			o.pods = append(o.pods, x)
		case *corev1.Namespace:
			o.namespaces[x.Name] = x
		case *corev1.ServiceAccount:
			o.accounts[ref{"", x.Namespace, x.Name}] = x
		case *corev1.Node:
			o.nodes = append(o.nodes, x)
		case *discoveryv1.EndpointSlice:
			o.slices = append(o.slices, x)
		case *v3.IPAMBlock:
			cidr, _ := v3.BlockCIDR(x.Name) // whatever it says itself
			b := x.DeepCopy()
			b.Spec.CIDR = cidr.String()
			o.blocks = append(o.blocks, b)
		case *v3.IPPool:
			o.pools = append(o.pools, x)
		case *v3.HostEndpoint:
			o.hosts = append(o.hosts, x)
		case *v3.WorkloadEndpoint:
			o.workloads = append(o.workloads, x)
		case *v3.NetworkSet:
			o.sets = append(o.sets, x)
		case *v3.GlobalNetworkSet:
			o.globalSets = append(o.globalSets, x)
		case *v3.Profile:
			o.profiles[x.Name] = x
		case *v3.Tier:
			o.tiers[x.Name] = x
		}
	}
	for at, object := range live { // after the slices, whose size decides which rules can be used
		o.read(at, object)
	}
	// The flows drawn with a seed must not depend on the order of a map.
	slices.SortFunc(o.pods, func(a, b *corev1.Pod) int { return cmpNames(a, b) })
	slices.SortFunc(o.hosts, func(a, b *v3.HostEndpoint) int { return cmpNames(a, b) })
	o.leaveBlocksOut()
	return o
}

// read takes in a policy that is in force.
func (o *oracle) read(at ref, object metav1.Object) {
	switch x := object.(type) {
	case *networkingv1.NetworkPolicy:
		o.statements = append(o.statements, o.kubernetes(at, x))
	case *v3.NetworkPolicy:
		o.statements = append(o.statements, o.calico(at, x))
	case *v3.GlobalNetworkPolicy:
		o.statements = append(o.statements, o.global(at, x))
	case *policyv1alpha2.ClusterNetworkPolicy:
		o.statements = append(o.statements, o.cluster(at, x))
	}
}

func cmpNames(a, b metav1.Object) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

func at(second int64) metav1.Time { return metav1.NewTime(time.Unix(second, 0)) }
