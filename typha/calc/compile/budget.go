package compile

import (
	"fmt"
	"math"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// Budget limits what policies may use, so that the policies of one namespace cannot use up what those of other
// namespaces need. A policy beyond the budget is unusable: it selects the same endpoints and allows nothing. A field
// that is not positive means its default.
//
// The numbers of rules and sets follow from the object alone. A rule of a Kubernetes policy counts once for each pair
// of a peer and a port. A rule of a projectcalico.org/v3 policy counts once, and once more for each further network or
// port in its lists. A set stands for a selector, a Service or a named port. It counts once for all rules that name it,
// and once more for each further 10 requirements of its selector.
//
// Members are the addresses and networks in those sets. Their number follows from the state of the cluster: replicas
// with the same state count the same, in whatever order the state arrived. A set's members count as the next power of
// two, and as 64 at least, so that few sets are counted again when pods come and go.
//
// The older policies of a namespace come first, and those that no longer fit are unusable. A set that several of them
// name counts once for the namespace. Policies without a namespace belong to an administrator: only the limits of a
// single policy apply to them.
type Budget struct {
	PolicyRules, PolicySets, PolicyMembers          int
	NamespaceRules, NamespaceSets, NamespaceMembers int
}

// DefaultBudget returns the default limits. They are above what policies written by people use, and low enough that one
// namespace does not harm the others of a large cluster.
func DefaultBudget() Budget {
	return Budget{
		PolicyRules: 10_000, PolicySets: 250, PolicyMembers: 1 << 20,
		NamespaceRules: 50_000, NamespaceSets: 1_000, NamespaceMembers: 1 << 21,
	}
}

// WithDefaults returns the budget with defaults for the fields that are not set.
func (b Budget) WithDefaults() Budget {
	d := DefaultBudget()
	for _, f := range []struct{ is, def *int }{
		{&b.PolicyRules, &d.PolicyRules}, {&b.PolicySets, &d.PolicySets}, {&b.PolicyMembers, &d.PolicyMembers},
		{&b.NamespaceRules, &d.NamespaceRules}, {&b.NamespaceSets, &d.NamespaceSets},
		{&b.NamespaceMembers, &d.NamespaceMembers},
	} {
		if *f.is <= 0 {
			*f.is = *f.def
		}
	}
	return b
}

// Validate returns an error if a limit for one policy is below 1 or above the limit for its namespace.
func (b Budget) Validate() error {
	for _, f := range []struct {
		name              string
		policy, namespace int
	}{
		{"Rules", b.PolicyRules, b.NamespaceRules},
		{"Sets", b.PolicySets, b.NamespaceSets},
		{"Members", b.PolicyMembers, b.NamespaceMembers},
	} {
		if f.policy < 1 || f.namespace < f.policy {
			return fmt.Errorf("PolicyMax%s: %d is not between 1 and NamespaceMax%s, %d",
				f.name, f.policy, f.name, f.namespace)
		}
	}
	return nil
}

// Exceeded returns why a policy has more rules or sets than one policy may have, and what to do about it. It returns
// the empty string for a policy within those limits and for an object that is not a policy. It does not report other
// reasons for which a policy cannot be used.
func (b Budget) Exceeded(object metav1.Object) string {
	_, _, exceeded, _ := b.WithDefaults().compile(object)
	return exceeded
}

// Cost is the part of the budget that follows from a policy's object. It is zero for a policy that exceeds the limits
// of a single policy.
type Cost struct{ Rules, Sets int }

// Policy compiles a policy of any kind. A policy that exceeds the limits of a single policy is closed: see
// Policy.Closed. Policy returns false for an object that is not a policy.
func (b Budget) Policy(object metav1.Object) (Key, Policy, bool) {
	key, p, _, is := b.compile(object)
	return key, p, is
}

// compile is Policy, and also returns why the policy exceeds the limits of a single policy. If the policy has too many
// rules, only its subject is compiled.
func (b Budget) compile(object metav1.Object) (key Key, p Policy, exceeded string, is bool) {
	r, is := resourceOf(object)
	if !is {
		return Key{}, Policy{}, "", false
	}
	tooMany := r.rules > b.PolicyRules
	p = r.compile(tooMany)
	p.Created = object.GetCreationTimestamp().Unix()
	p.Cost = Cost{r.rules, p.Subject.Terms() / termsOfSet}
	for i := range p.Sets {
		p.Cost.Sets += SetCost(&p.Sets[i])
	}
	switch {
	case tooMany:
		exceeded = fmt.Sprintf("spec: the policy has %s, and one may have %d (PolicyMaxRules); split it",
			number(r.rules, "rule"), b.PolicyRules)
	case p.Cost.Sets > b.PolicySets:
		exceeded = fmt.Sprintf("spec: the rules name %s by selectors, Services and names of ports, "+
			"and those of one policy may name %d (PolicyMaxSets); have fewer selectors select more, or split it",
			number(p.Cost.Sets, "set"), b.PolicySets)
	}
	if p.Subject.Terms() > termsOfSet*b.PolicySets {
		p.Subject.Expression = expression.All() // to evaluate its own selector would take too long
	}
	if exceeded != "" {
		exceeded += "; until then " + p.ClosedEffect()
		p = p.Closed()
		p.Cost, p.Reason = Cost{}, exceeded
	}
	return r.key, p, exceeded, true
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// maxRules is where counting ends, so that the product of two lists does not overflow.
const maxRules = math.MaxInt32

// kubernetesRules returns the number of rules of a NetworkPolicy.
func kubernetesRules(s *networkingv1.NetworkPolicySpec) int {
	n := 0
	add := func(peers []networkingv1.NetworkPolicyPeer, ports int) {
		n += max(1, len(peers)) * max(1, ports)
		for i := range peers {
			if b := peers[i].IPBlock; b != nil {
				n += len(b.Except) * max(1, ports)
			}
		}
		n = min(n, maxRules)
	}
	for i := range s.Ingress {
		add(s.Ingress[i].From, len(s.Ingress[i].Ports))
	}
	for i := range s.Egress {
		add(s.Egress[i].To, len(s.Egress[i].Ports))
	}
	return n
}

// clusterRules returns the number of rules of a ClusterNetworkPolicy.
func clusterRules(s *policyv1alpha2.ClusterNetworkPolicySpec) int {
	n := 0
	for i := range s.Ingress {
		n = min(n+max(1, len(s.Ingress[i].From))*max(1, len(s.Ingress[i].Protocols)), maxRules)
	}
	for i := range s.Egress {
		peers := max(1, len(s.Egress[i].To))
		for j := range s.Egress[i].To {
			peers += max(0, len(s.Egress[i].To[j].Networks)-1)
		}
		n = min(n+peers*max(1, len(s.Egress[i].Protocols)), maxRules)
	}
	return n
}

// calicoRules returns the number that rules of projectcalico.org/v3 count as.
func calicoRules(rules []v3.Rule) int {
	n := len(rules)
	for i := range rules {
		for _, end := range [...]*v3.EntityRule{&rules[i].Source, &rules[i].Destination} {
			for _, list := range [...]int{len(end.Nets), len(end.NotNets), len(end.Ports), len(end.NotPorts)} {
				n = min(n+max(0, list-1), maxRules)
			}
		}
	}
	return n
}

// termsOfSet is how many requirements a selector may have while its set counts once.
const termsOfSet = 10

// SetCost returns the number that a set counts as in a budget.
func SetCost(s *spec.Set) int {
	if s.Service != nil {
		return 1
	}
	return 1 + max(0, s.Items.Terms()-1)/termsOfSet
}
