package calc

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"

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

// withDefaults returns the budget with defaults for the fields that are not set.
func (b Budget) withDefaults() Budget {
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
			return fmt.Errorf("PolicyMax%s: %d is not between 1 and NamespaceMax%s, %d", f.name, f.policy, f.name, f.namespace)
		}
	}
	return nil
}

// Judge returns why a policy has more rules or sets than one policy may have, and what to do about it. It returns the
// empty string for a policy within those limits and for an object that is not a policy. It does not report other
// reasons for which the policy is unusable.
func (b Budget) Judge(object metav1.Object) string {
	_, c, _ := b.withDefaults().compile(object)
	return c.over
}

// cost is the part of the budget that follows from a policy's object. It is zero for a policy that exceeds the limits
// of a single policy.
type cost struct{ rules, sets int }

// compile reads a policy of any kind. If the policy has too many rules, only its subject is read. It returns false for
// an object that is not a policy.
func (b Budget) compile(object metav1.Object) (policyKey, compiled, bool) {
	key, rules, read := source(object)
	if read == nil {
		return policyKey{}, compiled{}, false
	}
	tooMany := rules > b.PolicyRules
	c := read(tooMany)
	c.created = object.GetCreationTimestamp().Unix()
	c.cost = cost{rules, c.subject.Terms() / termsOfSet}
	for i := range c.sets {
		c.cost.sets += weight(&c.sets[i])
	}
	switch {
	case tooMany:
		c.over = fmt.Sprintf("spec: the policy has %s, and one may have %d (PolicyMaxRules); split it",
			number(rules, "rule"), b.PolicyRules)
	case c.cost.sets > b.PolicySets:
		c.over = fmt.Sprintf("spec: the rules name %s by selectors, Services and names of ports, "+
			"and those of one policy may name %d (PolicyMaxSets); have fewer selectors select more, or split it",
			number(c.cost.sets, "set"), b.PolicySets)
	}
	if c.subject.Terms() > termsOfSet*b.PolicySets {
		c.subject.Expression = expression.All() // to evaluate its own selector would take too long
	}
	if c.over != "" {
		c.over += "; until then " + c.closedEffect()
		c.close()
		c.cost, c.reason = cost{}, c.over
	}
	return key, c, true
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// source returns a policy's key, the number of its rules, and a function that compiles the policy, without its rules if
// bare is set. The function is nil for an object that is not a policy.
func source(object metav1.Object) (key policyKey, rules int, read func(bare bool) compiled) {
	key = policyKey{namespace: object.GetNamespace(), name: object.GetName()}
	switch o := object.(type) {
	case *networkingv1.NetworkPolicy:
		key.kind = KindNetworkPolicy
		return key, kubeRules(&o.Spec), func(bare bool) compiled { return compileNetworkPolicy(o, bare) }
	case *v3.StagedKubernetesNetworkPolicy:
		key.kind = KindStagedKubernetesNetworkPolicy
		p := unstaged(o)
		return key, kubeRules(&p.Spec), func(bare bool) compiled {
			c := compileNetworkPolicy(p, bare)
			c.staged = stagedAction(o.Spec.StagedAction)
			return c
		}
	case *policyv1alpha2.ClusterNetworkPolicy:
		key.kind = KindClusterNetworkPolicy
		return key, clusterRules(&o.Spec), func(bare bool) compiled { return compileClusterNetworkPolicy(o, bare) }
	}
	p, ok := calicoSource(object)
	if !ok {
		return key, 0, nil
	}
	key.kind = p.kind
	return key, calicoRules(p.spec.Ingress) + calicoRules(p.spec.Egress), func(bare bool) compiled {
		c := compileCalico(p.wireName(key), key.namespace, p.spec, bare)
		c.staged = p.staged
		return c
	}
}

// maxRules is where counting ends, so that the product of two lists does not overflow.
const maxRules = math.MaxInt32

func kubeRules(s *networkingv1.NetworkPolicySpec) int {
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

// weight returns how often a set counts in a budget.
func weight(s *spec.Set) int {
	if s.Service != nil {
		return 1
	}
	return 1 + max(0, s.Items.Terms()-1)/termsOfSet
}

// leastCharge is the least number that the members of a set count as.
const leastCharge = 64

// charge returns the number that so many members of a set count as in a budget.
func (e *Engine) charge(members int) int {
	if members <= e.leastCharge {
		return e.leastCharge
	}
	return 1 << bits.Len(uint(members-1))
}

// closedEffect returns what the policy does once it is closed, for a message.
func (c *compiled) closedEffect() string {
	if c.subject.Scope == spec.Pods && c.policy.Tier == v3.DefaultTier {
		return "it allows nothing"
	}
	return "it denies all that it selects"
}

// close makes an unusable policy allow nothing. It still selects the same endpoints. Traffic that other NetworkPolicies
// of Kubernetes allow to the same pods stays allowed.
func (c *compiled) close() {
	if c.closedEffect() == "it allows nothing" {
		c.policy.Ingress, c.policy.Egress, c.sets, c.origins = nil, nil, nil, origins{}
		return
	}
	c.denyAll()
	if c.preDNAT {
		c.policy.Egress = nil
	}
}

func comparePolicyAges(a, b *policy) int {
	x, y := a.key(), b.key()
	return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(x.kind, y.kind), cmp.Compare(x.name, y.name))
}
