package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/compile"
)

// author is a client that keeps what it is warned of.
type author struct {
	client.Client
	warnings []string
}

func (a *author) HandleWarningHeader(_ int, _, text string) { a.warnings = append(a.warnings, text) }

func (w *world) author(t *testing.T) *author {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), policyv1alpha2.Install(scheme),
		v3.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	a := &author{}
	config := rest.CopyConfig(w.server.Config)
	config.WarningHandler = a
	var err error
	a.Client, err = client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tries reports whether the author of a policy is warned that it is beyond Typha's budget. It has to be let in.
func (a *author) tries(t *testing.T, o client.Object, opts ...client.CreateOption) bool {
	t.Helper()
	a.warnings = nil
	if err := a.Create(t.Context(), o, opts...); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(a.warnings, func(text string) bool { return strings.Contains(text, "(PolicyMax") })
}

// kubePolicy is a NetworkPolicy with an ingress rule for each list of peers, all with the same ports.
func kubePolicy(ports []networkingv1.NetworkPolicyPort,
	rules ...[]networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "p-"}}
	for _, peers := range rules {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers, Ports: ports})
	}
	return p
}

// peers gives many by number.
func peers(n int, one func(i int) networkingv1.NetworkPolicyPeer) (all []networkingv1.NetworkPolicyPeer) {
	for i := range n {
		all = append(all, one(i))
	}
	return all
}

func labelled(i int) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("a", i)}}
}

func ofPods(i int) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: labelled(i)}
}

func ofBlock(i int) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("10.%d.%d.0/24", i/256,
		i%256)}}
}

// numbered and named give many ports.
func numbered(n int) (ports []networkingv1.NetworkPolicyPort) {
	for i := range n {
		port := intstr.FromInt32(int32(i + 1))
		ports = append(ports, networkingv1.NetworkPolicyPort{Port: &port})
	}
	return ports
}

func named(n int) (ports []networkingv1.NetworkPolicyPort) {
	for i := range n {
		port := intstr.FromString(fmt.Sprint("port-", i))
		ports = append(ports, networkingv1.NetworkPolicyPort{Port: &port})
	}
	return ports
}

// wide is a selector of expressions, each with values.
func wide(expressions, values int) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	for e := range expressions {
		r := metav1.LabelSelectorRequirement{Key: fmt.Sprint("k", e), Operator: metav1.LabelSelectorOpIn}
		for v := range values {
			r.Values = append(r.Values, fmt.Sprint("v", v))
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

// smallPolicies: nobody is asked about most policies of Kubernetes itself.
func (w *world) smallPolicies(t *testing.T) {
	a, before := w.author(t), w.asked(t, "/warn")
	for name, p := range map[string]*networkingv1.NetworkPolicy{
		"empty":                kubePolicy(nil),
		"one rule":             kubePolicy(numbered(2), []networkingv1.NetworkPolicyPeer{ofPods(1)}),
		"many networks":        kubePolicy(numbered(20), peers(480, ofBlock)),
		"many selectors":       kubePolicy(numbered(1), peers(249, ofPods)),
		"many names":           kubePolicy(named(10), peers(21, ofPods)),
		"many values for pods": kubePolicy(nil, []networkingv1.NetworkPolicyPeer{{PodSelector: wide(1, 8)}}),
	} {
		for range 3 {
			a.tries(t, p.DeepCopy(), client.DryRunAll)
			if len(a.warnings) > 0 {
				t.Errorf("%s: warnings %q", name, a.warnings)
			}
		}
	}
	if n := w.asked(t, "/warn") - before; n > 0 {
		t.Errorf("the webhook was asked %d times", n)
	}
}

// largePolicies: one beyond the budget is stored, and its author is told. API servers find the largest objects that
// they take, too, and those that are as costly to look at as can be.
func (w *world) largePolicies(t *testing.T) {
	a := w.author(t)
	stored := kubePolicy(numbered(101), peers(100, ofBlock))
	eventually(t, "a warning", func() error {
		if p := stored.DeepCopy(); !a.tries(t, p, client.DryRunAll) {
			return fmt.Errorf("warnings %q", a.warnings)
		}
		return nil
	})
	if !a.tries(t, stored) {
		t.Errorf("no warning of what is stored, but %q", a.warnings)
	}
	found := &networkingv1.NetworkPolicy{}
	if err := a.Get(t.Context(), client.ObjectKeyFromObject(stored), found); err != nil ||
		len(found.Spec.Ingress) != 1 {
		t.Errorf("found %+v, %v", found.Spec, err)
	}
	a.warnings = nil
	found.Labels = map[string]string{"changed": "yes"}
	if err := a.Update(t.Context(), found); err != nil || len(a.warnings) == 0 {
		t.Errorf("a change: warnings %q, %v", a.warnings, err)
	}
	if err := a.Delete(t.Context(), found); err != nil {
		t.Error(err)
	}

	costly := func(i int) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{PodSelector: wide(2, 1), NamespaceSelector: &metav1.LabelSelector{
			MatchLabels:      map[string]string{"app": fmt.Sprint("a", i)},
			MatchExpressions: wide(1, 3).MatchExpressions}}
	}
	of := func(s *metav1.LabelSelector) []networkingv1.NetworkPolicyPeer {
		return []networkingv1.NetworkPolicyPeer{{PodSelector: s}}
	}
	excepting := ofBlock(0)
	for i := range 50_000 {
		excepting.IPBlock.CIDR = "10.0.0.0/8"
		excepting.IPBlock.Except = append(excepting.IPBlock.Except, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	alone := kubePolicy(nil)
	alone.Spec.PodSelector = *wide(1, 3000)
	lastOfMany := slices.Concat(peers(251, ofBlock), peers(248, costly), of(wide(1, 3000)))
	for name, p := range map[string]*networkingv1.NetworkPolicy{
		"rules": kubePolicy(nil, make([][]networkingv1.NetworkPolicyPeer, 200_000)...),
		"rules with peers": kubePolicy(nil, slices.Repeat([][]networkingv1.NetworkPolicyPeer{peers(1, ofPods)},
			20_000)...),
		"peers":                     kubePolicy(nil, peers(25_000, ofPods)),
		"networks":                  kubePolicy(nil, peers(25_000, ofBlock)),
		"ports":                     kubePolicy(numbered(30_000)),
		"ports of a rule":           kubePolicy(numbered(30_000), nil),
		"excepted networks":         kubePolicy(nil, []networkingv1.NetworkPolicyPeer{excepting}),
		"values":                    kubePolicy(nil, of(wide(1, 100_000))),
		"expressions":               kubePolicy(nil, of(wide(30_000, 1))),
		"selectors with values":     kubePolicy(nil, of(wide(900, 20))),
		"values of its own":         alone,
		"selectors":                 kubePolicy(nil, peers(251, ofPods)),
		"costly selectors":          kubePolicy(nil, peers(499, costly)),
		"costly selectors in rules": kubePolicy(nil, slices.Collect(slices.Chunk(peers(490, costly), 1))...),
		"the last of many":          kubePolicy(nil, lastOfMany),
		"names of ports":            kubePolicy(named(251), peers(249, ofBlock)),
	} {
		want := compile.DefaultBudget().Exceeded(p) != ""
		if got := a.tries(t, p, client.DryRunAll); got != want {
			t.Errorf("%s: warned of: %t, want %t; warnings %q", name, got, want, a.warnings)
		}
	}
}

// randomPolicy is one of a size about the budget's.
func randomPolicy(r *rand.Rand) client.Object {
	selector := func() *metav1.LabelSelector {
		if r.IntN(300) == 0 {
			return wide(1+r.IntN(3), 1+r.IntN(120))
		}
		return labelled(r.IntN(900))
	}
	count := func(most int) int { return r.IntN(1 + r.IntN(most)) }
	var ports []networkingv1.NetworkPolicyPort
	ports = numbered(r.IntN(4))
	if r.IntN(3) == 0 {
		ports = append(ports, named(1+count(6))...)
	}
	meta := metav1.ObjectMeta{GenerateName: "p-"}
	if r.IntN(2) == 0 {
		cluster := &policyv1alpha2.ClusterNetworkPolicy{ObjectMeta: meta}
		cluster.Spec.Tier, cluster.Spec.Subject.Namespaces = policyv1alpha2.AdminTier, selector()
		var protocols []policyv1alpha2.ClusterNetworkPolicyProtocol
		for _, p := range ports {
			if name := p.Port.StrVal; name != "" {
				protocols = append(protocols, policyv1alpha2.ClusterNetworkPolicyProtocol{DestinationNamedPort: name})
			}
		}
		for range count(90) {
			rule := policyv1alpha2.ClusterNetworkPolicyEgressRule{
				Action: policyv1alpha2.ClusterNetworkPolicyRuleActionAccept, Protocols: protocols}
			for range 1 + count(14) {
				peer := policyv1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: selector()}
				switch r.IntN(3) {
				case 0:
					peer = policyv1alpha2.ClusterNetworkPolicyEgressPeer{Networks: slices.Repeat(
						[]policyv1alpha2.CIDR{"10.0.0.0/8"}, 1+count(200))}
				case 1:
					peer = policyv1alpha2.ClusterNetworkPolicyEgressPeer{Pods: &policyv1alpha2.NamespacedPod{
						NamespaceSelector: *selector(), PodSelector: *selector()}}
				}
				rule.To = append(rule.To, peer)
			}
			cluster.Spec.Egress = append(cluster.Spec.Egress, rule)
		}
		return cluster
	}
	p := kubePolicy(nil)
	p.Spec.PodSelector = *selector()
	for range count(90) {
		list := peers(count(20), func(int) networkingv1.NetworkPolicyPeer {
			switch r.IntN(3) {
			case 0:
				return ofBlock(r.IntN(999))
			case 1:
				return networkingv1.NetworkPolicyPeer{PodSelector: selector(), NamespaceSelector: selector()}
			}
			return networkingv1.NetworkPolicyPeer{PodSelector: selector()}
		})
		if r.IntN(2) == 0 {
			p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: list, Ports: ports})
		} else {
			p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: list, Ports: ports})
		}
	}
	return p
}

// randomPolicies: whatever Typha will not use by its size, an author is warned of, and of nothing else.
func (w *world) randomPolicies(t *testing.T) {
	defer w.server.OfferClusterNetworkPolicies(t)()
	a := w.author(t)
	eventually(t, "ClusterNetworkPolicies", func() error {
		return a.List(t.Context(),
			&policyv1alpha2.ClusterNetworkPolicyList{})
	})
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	before, verdicts := w.asked(t, "/warn"), map[bool]int{}
	for range 300 {
		p := randomPolicy(r)
		reason := compile.DefaultBudget().Exceeded(p)
		if warned := a.tries(t, p, client.DryRunAll); warned != (reason != "") {
			t.Errorf("seed %d: warnings %q of a %T that is unusable by %q", seed, a.warnings, p, reason)
		}
		verdicts[reason != ""]++
	}
	asked := w.asked(t, "/warn") - before
	if verdicts[true] < 15 || verdicts[false] < 15 || asked > verdicts[true]+verdicts[false]/2 {
		t.Errorf("seed %d: verdicts %v, the webhook was asked %d times", seed, verdicts, asked)
	}
	t.Logf("seed %d: %d are beyond the budget, and %d were asked about", seed, verdicts[true], asked)
}
