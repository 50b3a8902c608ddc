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
)

// Budget is what policies may take, so that those of one namespace cannot take what those of others need. A policy beyond it
// is unusable: it selects what it selects and allows nothing. A field that is not positive means its default.
//
// Rules and sets are counted in the object alone. A rule counts once for each peer with each port; in a policy of
// projectcalico.org/v3 once, and once more for each further network and port of a list. A set is what a selector, a
// Service or the name of a port stands for: it counts once for all rules that name it, and once more for each further 10
// requirements of its selector.
//
// Members are the addresses and networks in those sets, and follow from the cluster: the same in every replica that knows
// the same, whatever order it came in. Those of a set count as the next power of two, 64 at least, so that little is
// counted anew when pods come and go.
//
// Of the policies of a namespace the older ones come first, and those that no longer fit are unusable. A set that several
// of them name counts once for the namespace. Policies without a namespace are an administrator's: each is bound by
// itself alone.
type Budget struct {
	PolicyRules, PolicySets, PolicyMembers          int
	NamespaceRules, NamespaceSets, NamespaceMembers int
}

// DefaultBudget is more than policies that people write take, and little enough for one namespace to take in a cluster
// with many.
func DefaultBudget() Budget {
	return Budget{
		PolicyRules: 10_000, PolicySets: 250, PolicyMembers: 1 << 20,
		NamespaceRules: 50_000, NamespaceSets: 1_000, NamespaceMembers: 1 << 21,
	}
}

// withDefaults fills in what is not set.
func (b Budget) withDefaults() Budget {
	d := DefaultBudget()
	for _, f := range []struct{ is, def *int }{
		{&b.PolicyRules, &d.PolicyRules}, {&b.PolicySets, &d.PolicySets}, {&b.PolicyMembers, &d.PolicyMembers},
		{&b.NamespaceRules, &d.NamespaceRules}, {&b.NamespaceSets, &d.NamespaceSets}, {&b.NamespaceMembers, &d.NamespaceMembers},
	} {
		if *f.is <= 0 {
			*f.is = *f.def
		}
	}
	return b
}

// Validate returns an error if a namespace may have less than one policy of it, or a policy nothing.
func (b Budget) Validate() error {
	for _, f := range []struct {
		name              string
		policy, namespace int
	}{
		{"Rules", b.PolicyRules, b.NamespaceRules}, {"Sets", b.PolicySets, b.NamespaceSets}, {"Members", b.PolicyMembers, b.NamespaceMembers},
	} {
		if f.policy < 1 || f.namespace < f.policy {
			return fmt.Errorf("PolicyMax%s: %d is not between 1 and NamespaceMax%s, %d", f.name, f.policy, f.name, f.namespace)
		}
	}
	return nil
}

// Judge returns why a policy is beyond what one policy may have of rules and sets, in words that say what to do instead. It
// is empty for one that is within it, and for what is no policy. Whatever else cannot be used of the policy does not count.
func (b Budget) Judge(object metav1.Object) string {
	_, c, _ := b.withDefaults().compile(object)
	return c.over
}

// cost is what a policy takes, as its object says. One that takes nothing is beyond the budget by itself.
type cost struct{ rules, sets int }

// compile reads a policy of any kind. Of one that has too many rules only what it selects is read. It is false for what is
// no policy.
func (b Budget) compile(object metav1.Object) (policyKey, compiled, bool) {
	key, rules, read := source(object)
	if read == nil {
		return policyKey{}, compiled{}, false
	}
	tooMany := rules > b.PolicyRules
	c := read(tooMany)
	c.created = object.GetCreationTimestamp().Unix()
	c.cost = cost{rules, c.subject.terms() / termsOfSet}
	for i := range c.sets {
		c.cost.sets += c.sets[i].weight()
	}
	switch {
	case tooMany:
		c.over = fmt.Sprintf("spec: the policy has %s, and one may have %d (PolicyMaxRules); split it", number(rules, "rule"), b.PolicyRules)
	case c.cost.sets > b.PolicySets:
		c.over = fmt.Sprintf("spec: the rules name %s by selectors, Services and names of ports, and those of one policy may name %d "+
			"(PolicyMaxSets); have fewer selectors select more, or split it", number(c.cost.sets, "set"), b.PolicySets)
	}
	if c.subject.terms() > termsOfSet*b.PolicySets {
		c.subject.Selector = expression.All() // whom it would select takes too long to say
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

// source gives a policy's key, the number of its rules and how to compile it, with its rules or without. It is nil for what is
// no policy.
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

// maxRules is where counting ends: lists that multiply do not overflow.
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

// termsOfSet is how many requirements a selector may have for its set to count once.
const termsOfSet = 10

// weight is what a set counts in a budget.
func (s *setSpec) weight() int {
	if s.service != nil {
		return 1
	}
	return 1 + max(0, s.items.terms()-1)/termsOfSet
}

func (s spec) terms() int {
	if s.Selector == nil {
		return 0
	}
	return s.Terms()
}

// leastCharge is what the members of a set count at least.
const leastCharge = 64

// charge is what so many members count.
func (e *Engine) charge(members int) int {
	if members <= e.leastCharge {
		return e.leastCharge
	}
	return 1 << bits.Len(uint(members-1))
}

// closedEffect says what a policy does that is closed.
func (c *compiled) closedEffect() string {
	if c.subject.scope == scopePods && c.policy.Tier == v3.DefaultTier {
		return "it allows nothing"
	}
	return "it denies all that it selects"
}

// close has a policy that cannot be used select what it selects and allow nothing. What other policies of Kubernetes allow to
// the same pods stays allowed, as if the rules were not there.
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
