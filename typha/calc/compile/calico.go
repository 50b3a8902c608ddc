package compile

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// calicoCompiler collects the outcome of one policy of projectcalico.org/v3, or of a Profile.
type calicoCompiler struct {
	namespace string // of the policy; empty for none
	onForward bool
	subject   spec.Selector
	sets      sets
	errs      field.ErrorList
}

// calicoSpec compiles a policy in the form of a GlobalNetworkPolicy, which has the fields of all kinds. name is that of
// the policy on the wire. The fields mean what Calico's documentation says
// (https://docs.tigera.io/calico/latest/reference/resources). If bare is set, the rules are left out.
func calicoSpec(name, namespace string, o *v3.GlobalNetworkPolicySpec, bare bool) Policy {
	c := calicoCompiler{namespace: namespace, onForward: o.ApplyOnForward}
	tier := o.Tier
	if tier == "" {
		tier = v3.DefaultTier
	}
	out := Policy{
		Name: name, Tier: tier, Order: o.Order,
		DoNotTrack: o.DoNotTrack, PreDNAT: o.PreDNAT, ApplyOnForward: o.ApplyOnForward,
		NeededOnEveryNode: slices.Contains(o.PerformanceHints, v3.PerfHintAssumeNeededOnEveryNode),
	}
	out.AppliesToIngress, out.AppliesToEgress = calicoDirections(o)
	path := field.NewPath("spec")
	c.subject = c.calicoSubject(path, o)
	out.Subject = c.subject
	readable := len(c.errs) == 0
	if !bare {
		c.rules(&out, path.Child("ingress"), o.Ingress, true)
		c.rules(&out, path.Child("egress"), o.Egress, false)
	}
	out.Sets, out.Reason = c.sets.list, Reason(c.errs)
	if !readable {
		// More endpoints are selected than was meant. They are isolated, and nothing is allowed to those that were not
		// meant.
		out.denyAll()
	}
	if o.PreDNAT {
		out.AppliesToEgress, out.Egress = false, Rules{}
	}
	return out
}

// calicoDirections returns the directions that types lists. The default is ingress, if there are ingress rules or no
// rules at all, and egress, if there are egress rules.
func calicoDirections(o *v3.GlobalNetworkPolicySpec) (ingress, egress bool) {
	if len(o.Types) == 0 {
		return len(o.Ingress) > 0 || len(o.Egress) == 0, len(o.Egress) > 0
	}
	return slices.Contains(o.Types, v3.PolicyTypeIngress), slices.Contains(o.Types, v3.PolicyTypeEgress)
}

// calicoSubject returns what the policy applies to. A selector that cannot be read selects everything.
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

// selector returns a selector. If it cannot be read, selector reports it and returns all().
func (c *calicoCompiler) selector(path *field.Path, text string) *expression.Selector {
	c.errs = append(c.errs, rule.Selector(path, text)...)
	return readableOrAll(text)
}

// Profile compiles the rules of a Profile. name is that of its Policy on the wire.
func Profile(name string, o *v3.ProfileSpec) Policy {
	c := calicoCompiler{subject: spec.All(spec.Any)}
	out := Policy{Name: name}
	path := field.NewPath("spec")
	c.rules(&out, path.Child("ingress"), o.Ingress, true)
	c.rules(&out, path.Child("egress"), o.Egress, false)
	out.Sets, out.Reason = c.sets.list, Reason(c.errs)
	return out
}

// calicoPolicy is a policy of projectcalico.org/v3 in the form of the kind with the most fields.
type calicoPolicy struct {
	kind   string
	staged v3.StagedAction // empty if the policy is not staged
	spec   *v3.GlobalNetworkPolicySpec
}

// wireName returns the name of the Policy that nodes receive.
func (p *calicoPolicy) wireName(key Key) string {
	prefix, name := "gnp.", key.Name
	if key.Namespace != "" {
		prefix, name = "np.", key.Namespace+"/"+key.Name
	}
	return prefix + cmp.Or(p.spec.Tier, v3.DefaultTier) + "/" + name
}

// calicoResource returns a policy of projectcalico.org/v3. It returns false for any other object.
func calicoResource(object metav1.Object) (resource, bool) {
	p, is := calicoSource(object)
	if !is {
		return resource{}, false
	}
	key := Key{p.kind, object.GetNamespace(), object.GetName()}
	return resource{key, calicoRules(p.spec.Ingress) + calicoRules(p.spec.Egress), func(bare bool) Policy {
		c := calicoSpec(p.wireName(key), key.Namespace, p.spec, bare)
		c.Staged = p.staged
		return c
	}}, true
}

// calicoSource returns a policy of projectcalico.org/v3 in the form of the kind with the most fields. It returns false
// for any other object.
func calicoSource(object metav1.Object) (calicoPolicy, bool) {
	switch o := object.(type) {
	case *v3.GlobalNetworkPolicy:
		return calicoPolicy{KindGlobalNetworkPolicy, "", &o.Spec}, true
	case *v3.NetworkPolicy:
		s := &o.Spec
		return calicoPolicy{KindCalicoNetworkPolicy, "", &v3.GlobalNetworkPolicySpec{
			Egress: s.Egress, Ingress: s.Ingress, Order: s.Order,
			PerformanceHints: s.PerformanceHints, Selector: s.Selector,
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

// unusable reports what of a rule cannot be used, and what the rule does instead.
func (c *calicoCompiler) unusable(errs field.ErrorList, closed bool) {
	effect := "the rule matches nothing"
	if closed {
		effect = "the rule denies all that it may have meant"
	}
	for _, err := range errs {
		err.Detail = fmt.Sprintf("%s; %s", err.Detail, effect)
		if len(c.errs) < MaxErrors {
			c.errs = append(c.errs, err)
		}
	}
}
