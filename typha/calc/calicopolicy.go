package calc

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// calicoCompiler gathers the outcome of one policy of projectcalico.org/v3, or of a Profile.
type calicoCompiler struct {
	namespace string // of the policy; empty for none
	onForward bool
	subject   spec
	sets      setsOf
	errs      field.ErrorList
}

// compileCalico reads a policy, whose fields a GlobalNetworkPolicy has all of. name is that of the wire policy. What Calico's
// documentation says of the fields (https://docs.tigera.io/calico/latest/reference/resources) is how it is read; our API's
// comments say the same.
func compileCalico(name, namespace string, o *v3.GlobalNetworkPolicySpec) compiled {
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
	spec := field.NewPath("spec")
	c.subject = c.calicoSubject(spec, o)
	out.subject = c.subject
	readable := len(c.errs) == 0
	c.rules(&out, spec.Child("ingress"), o.Ingress, true)
	c.rules(&out, spec.Child("egress"), o.Egress, false)
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

// calicoDirections gives what types says, or its default: ingress if there are ingress rules or none at all, and egress if
// there are egress rules.
func calicoDirections(o *v3.GlobalNetworkPolicySpec) (ingress, egress bool) {
	if len(o.Types) == 0 {
		return len(o.Ingress) > 0 || len(o.Egress) == 0, len(o.Egress) > 0
	}
	return slices.Contains(o.Types, v3.PolicyTypeIngress), slices.Contains(o.Types, v3.PolicyTypeEgress)
}

// calicoSubject gives what the policy applies to; of selectors that cannot be read, everything.
func (c *calicoCompiler) calicoSubject(path *field.Path, o *v3.GlobalNetworkPolicySpec) spec {
	parts := []*expression.Selector{c.selector(path.Child("selector"), o.Selector)}
	if o.NamespaceSelector != "" {
		namespaces := c.selector(path.Child("namespaceSelector"), o.NamespaceSelector)
		parts = append(parts, expression.Has(v3.LabelNamespace), namespaces.Prefixed(v3.NamespaceLabelPrefix))
	}
	if o.ServiceAccountSelector != "" {
		accounts := c.selector(path.Child("serviceAccountSelector"), o.ServiceAccountSelector)
		parts = append(parts, expression.Has(v3.LabelServiceAccount), accounts.Prefixed(v3.ServiceAccountLabelPrefix))
	}
	return spec{scopeAll, c.namespace, expression.And(parts...)}
}

// selector reads a selector; one that cannot be read is reported, and selects everything.
func (c *calicoCompiler) selector(path *field.Path, text string) *expression.Selector {
	c.errs = append(c.errs, rule.Selector(path, text)...)
	return readableOrAll(text)
}

func compileProfile(wireName string, o *v3.ProfileSpec) compiled {
	c := calicoCompiler{subject: spec{scopeAll, "", expression.All()}}
	out := compiled{policy: &wire.Policy{Name: wireName}}
	path := field.NewPath("spec")
	c.rules(&out, path.Child("ingress"), o.Ingress, true)
	c.rules(&out, path.Child("egress"), o.Egress, false)
	out.sets, out.reason = c.sets.specs, reasonOf(c.errs)
	return out
}

func (e *Engine) upsertCalicoPolicy(key policyKey, wireName string, staged v3.StagedAction, o *v3.GlobalNetworkPolicySpec) {
	c := compileCalico(wireName, key.namespace, o)
	c.staged = staged
	e.judge(key.kind, key.namespace, key.name, c.reason)
	e.setPolicy(key, c)
}

// tierOf gives the tier that is part of a policy's name on the wire.
func tierOf(tier string) string {
	if tier == "" {
		return v3.DefaultTier
	}
	return tier
}

func (e *Engine) upsertGlobalNetworkPolicy(o *v3.GlobalNetworkPolicy) {
	e.upsertCalicoPolicy(policyKey{KindGlobalNetworkPolicy, "", o.Name}, "gnp."+tierOf(o.Spec.Tier)+"/"+o.Name, "", &o.Spec)
}

func (e *Engine) upsertCalicoNetworkPolicy(o *v3.NetworkPolicy) {
	e.upsertCalicoPolicy(policyKey{KindCalicoNetworkPolicy, o.Namespace, o.Name}, "np."+tierOf(o.Spec.Tier)+"/"+o.Namespace+"/"+o.Name, "", namespaced(&o.Spec))
}

// namespaced gives the same in the form of a policy that has more fields.
func namespaced(s *v3.NetworkPolicySpec) *v3.GlobalNetworkPolicySpec {
	return &v3.GlobalNetworkPolicySpec{
		Egress: s.Egress, Ingress: s.Ingress, Order: s.Order, PerformanceHints: s.PerformanceHints, Selector: s.Selector,
		ServiceAccountSelector: s.ServiceAccountSelector, Tier: s.Tier, Types: s.Types,
	}
}

// stagedAction gives what is tried; absent is Set.
func stagedAction(a v3.StagedAction) v3.StagedAction {
	if a == "" {
		return v3.StagedActionSet
	}
	return a
}

func (e *Engine) upsertStagedGlobalNetworkPolicy(o *v3.StagedGlobalNetworkPolicy) {
	s := &o.Spec
	e.upsertCalicoPolicy(policyKey{KindStagedGlobalNetworkPolicy, "", o.Name}, "gnp."+tierOf(s.Tier)+"/"+o.Name, stagedAction(s.StagedAction),
		&v3.GlobalNetworkPolicySpec{
			ApplyOnForward: s.ApplyOnForward, DoNotTrack: s.DoNotTrack, Egress: s.Egress, Ingress: s.Ingress,
			NamespaceSelector: s.NamespaceSelector, Order: s.Order, PreDNAT: s.PreDNAT, Selector: s.Selector,
			ServiceAccountSelector: s.ServiceAccountSelector, Tier: s.Tier, Types: s.Types,
		})
}

func (e *Engine) upsertStagedNetworkPolicy(o *v3.StagedNetworkPolicy) {
	s := &o.Spec
	e.upsertCalicoPolicy(policyKey{KindStagedNetworkPolicy, o.Namespace, o.Name}, "np."+tierOf(s.Tier)+"/"+o.Namespace+"/"+o.Name, stagedAction(s.StagedAction),
		&v3.GlobalNetworkPolicySpec{
			Egress: s.Egress, Ingress: s.Ingress, Order: s.Order, Selector: s.Selector,
			ServiceAccountSelector: s.ServiceAccountSelector, Tier: s.Tier, Types: s.Types,
		})
}

func (e *Engine) upsertStagedKubernetesNetworkPolicy(o *v3.StagedKubernetesNetworkPolicy) {
	s := &o.Spec
	c := compileNetworkPolicy(&networkingv1.NetworkPolicy{ObjectMeta: o.ObjectMeta, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: s.PodSelector, Ingress: s.Ingress, Egress: s.Egress, PolicyTypes: s.PolicyTypes}})
	c.staged = stagedAction(s.StagedAction)
	e.judge(KindStagedKubernetesNetworkPolicy, o.Namespace, o.Name, c.reason)
	e.setPolicy(policyKey{KindStagedKubernetesNetworkPolicy, o.Namespace, o.Name}, c)
}

func (e *Engine) upsertNetworkPolicy(o *networkingv1.NetworkPolicy) {
	c := compileNetworkPolicy(o)
	e.judge(KindNetworkPolicy, o.Namespace, o.Name, c.reason)
	e.setPolicy(policyKey{KindNetworkPolicy, o.Namespace, o.Name}, c)
}

// unusable notes what of a rule cannot be used, and what it does instead.
func (c *calicoCompiler) unusable(errs field.ErrorList, closed bool) {
	effect := "the rule matches nothing"
	if closed {
		effect = "the rule denies all that it may have meant"
	}
	for _, err := range errs {
		err.Detail = fmt.Sprintf("%s; %s", err.Detail, effect)
		c.errs = append(c.errs, err)
	}
}
