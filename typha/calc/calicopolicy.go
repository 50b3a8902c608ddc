package calc

import (
	"cmp"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
	"github.com/maneki-net/maneki/typha/wire"
)

// calicoCompiler gathers the outcome of one policy of projectcalico.org/v3, or of a Profile.
type calicoCompiler struct {
	namespace string // of the policy; empty for none
	onForward bool
	subject   spec.Selector
	sets      setsOf
	errs      field.ErrorList
}

// compileCalico reads a policy, whose fields a GlobalNetworkPolicy has all of. name is that of the wire policy. What
// Calico's documentation says of the fields (https://docs.tigera.io/calico/latest/reference/resources) is how it is
// read; our API's comments say the same. A bare one is read without its rules.
func compileCalico(name, namespace string, o *v3.GlobalNetworkPolicySpec, bare bool) compiled {
	c := calicoCompiler{namespace: namespace, onForward: o.ApplyOnForward}
	tier := o.Tier
	if tier == "" {
		tier = v3.DefaultTier
	}
	out := compiled{
		policy: &wire.Policy{Name: name, Tier: tier}, order: o.Order,
		doNotTrack: o.DoNotTrack, preDNAT: o.PreDNAT, onForward: o.ApplyOnForward,
		everywhere: slices.Contains(o.PerformanceHints, v3.PerfHintAssumeNeededOnEveryNode),
	}
	out.ingress, out.egress = calicoDirections(o)
	path := field.NewPath("spec")
	c.subject = c.calicoSubject(path, o)
	out.subject = c.subject
	readable := len(c.errs) == 0
	if !bare {
		c.rules(&out, path.Child("ingress"), o.Ingress, true)
		c.rules(&out, path.Child("egress"), o.Egress, false)
	}
	out.sets, out.reason = c.sets.specs, reasonOf(c.errs)
	if !readable {
		// More is selected than was meant. It is isolated, and nothing is allowed to what was not meant.
		out.denyAll()
	}
	if o.PreDNAT {
		out.egress, out.policy.Egress = false, nil
	}
	return out
}

var denyAll = []wire.Rule{{Action: wire.Deny}}

// calicoDirections returns what types says, or its default: ingress if there are ingress rules or none at all, and
// egress if there are egress rules.
func calicoDirections(o *v3.GlobalNetworkPolicySpec) (ingress, egress bool) {
	if len(o.Types) == 0 {
		return len(o.Ingress) > 0 || len(o.Egress) == 0, len(o.Egress) > 0
	}
	return slices.Contains(o.Types, v3.PolicyTypeIngress), slices.Contains(o.Types, v3.PolicyTypeEgress)
}

// calicoSubject returns what the policy applies to; of selectors that cannot be read, everything.
func (c *calicoCompiler) calicoSubject(path *field.Path, o *v3.GlobalNetworkPolicySpec) spec.Selector {
	parts := []*expression.Selector{c.selector(path.Child("selector"), o.Selector)}
	if o.NamespaceSelector != "" {
		namespaces := c.selector(path.Child("namespaceSelector"), o.NamespaceSelector)
		parts = append(parts, expression.Has(v3.LabelNamespace), namespaces.Prefixed(v3.NamespaceLabelPrefix))
	}
	if o.ServiceAccountSelector != "" {
		accounts := c.selector(path.Child("serviceAccountSelector"), o.ServiceAccountSelector)
		parts = append(parts, expression.Has(v3.LabelServiceAccount), accounts.Prefixed(v3.ServiceAccountLabelPrefix))
	}
	return spec.Selector{Scope: spec.Any, Namespace: c.namespace, Expression: expression.And(parts...)}
}

// selector reads a selector; one that cannot be read is reported, and selects everything.
func (c *calicoCompiler) selector(path *field.Path, text string) *expression.Selector {
	c.errs = append(c.errs, rule.Selector(path, text)...)
	return readableOrAll(text)
}

func compileProfile(wireName string, o *v3.ProfileSpec) compiled {
	c := calicoCompiler{subject: spec.All(spec.Any)}
	out := compiled{policy: &wire.Policy{Name: wireName}}
	path := field.NewPath("spec")
	c.rules(&out, path.Child("ingress"), o.Ingress, true)
	c.rules(&out, path.Child("egress"), o.Egress, false)
	out.sets, out.reason = c.sets.specs, reasonOf(c.errs)
	return out
}

// calicoPolicy is a policy of projectcalico.org/v3 in the form of the kind with the most fields.
type calicoPolicy struct {
	kind   string
	staged v3.StagedAction // empty if the policy is not staged
	spec   *v3.GlobalNetworkPolicySpec
}

// wireName returns the name of the Policy that nodes receive.
func (p *calicoPolicy) wireName(key policyKey) string {
	prefix, name := "gnp.", key.name
	if key.namespace != "" {
		prefix, name = "np.", key.namespace+"/"+key.name
	}
	return prefix + cmp.Or(p.spec.Tier, v3.DefaultTier) + "/" + name
}

// calicoSource returns an object as a policy of projectcalico.org/v3. It returns false for any other object.
func calicoSource(object metav1.Object) (calicoPolicy, bool) {
	switch o := object.(type) {
	case *v3.GlobalNetworkPolicy:
		return calicoPolicy{KindGlobalNetworkPolicy, "", &o.Spec}, true
	case *v3.NetworkPolicy:
		s := &o.Spec
		return calicoPolicy{KindCalicoNetworkPolicy, "", &v3.GlobalNetworkPolicySpec{
			Egress: s.Egress, Ingress: s.Ingress, Order: s.Order, PerformanceHints: s.PerformanceHints, Selector: s.Selector,
			ServiceAccountSelector: s.ServiceAccountSelector, Tier: s.Tier, Types: s.Types,
		}}, true
	case *v3.StagedGlobalNetworkPolicy:
		s := &o.Spec
		return calicoPolicy{KindStagedGlobalNetworkPolicy, stagedAction(s.StagedAction), &v3.GlobalNetworkPolicySpec{
			ApplyOnForward: s.ApplyOnForward, DoNotTrack: s.DoNotTrack, Egress: s.Egress, Ingress: s.Ingress,
			NamespaceSelector: s.NamespaceSelector, Order: s.Order, PreDNAT: s.PreDNAT, Selector: s.Selector,
			ServiceAccountSelector: s.ServiceAccountSelector, Tier: s.Tier, Types: s.Types,
		}}, true
	case *v3.StagedNetworkPolicy:
		s := &o.Spec
		return calicoPolicy{KindStagedNetworkPolicy, stagedAction(s.StagedAction), &v3.GlobalNetworkPolicySpec{
			Egress: s.Egress, Ingress: s.Ingress, Order: s.Order, Selector: s.Selector,
			ServiceAccountSelector: s.ServiceAccountSelector, Tier: s.Tier, Types: s.Types,
		}}, true
	}
	return calicoPolicy{}, false
}

// stagedAction returns the action of a staged policy. The default is Set.
func stagedAction(a v3.StagedAction) v3.StagedAction { return cmp.Or(a, v3.StagedActionSet) }

// unstaged returns a staged policy as a NetworkPolicy.
func unstaged(o *v3.StagedKubernetesNetworkPolicy) *networkingv1.NetworkPolicy {
	s := &o.Spec
	return &networkingv1.NetworkPolicy{ObjectMeta: o.ObjectMeta, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: s.PodSelector, Ingress: s.Ingress, Egress: s.Egress, PolicyTypes: s.PolicyTypes}}
}

// unusable notes what of a rule cannot be used, and what it does instead.
func (c *calicoCompiler) unusable(errs field.ErrorList, closed bool) {
	effect := "the rule matches nothing"
	if closed {
		effect = "the rule denies all that it may have meant"
	}
	for _, err := range errs {
		err.Detail = fmt.Sprintf("%s; %s", err.Detail, effect)
		if len(c.errs) < mostErrors {
			c.errs = append(c.errs, err)
		}
	}
}
