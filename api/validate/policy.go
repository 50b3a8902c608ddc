package validate

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// policy holds the fields that all kinds of policies have.
type policy struct {
	tier, selector, accounts string
	types                    []v3.PolicyType
	ingress, egress          []v3.Rule
	namespaced               bool
}

func policyOf(s *v3.NetworkPolicySpec) policy {
	return policy{s.Tier, s.Selector, s.ServiceAccountSelector, s.Types, s.Ingress, s.Egress, true}
}

func globalPolicyOf(s *v3.GlobalNetworkPolicySpec) policy {
	return policy{s.Tier, s.Selector, s.ServiceAccountSelector, s.Types, s.Ingress, s.Egress, false}
}

func (p policy) check(spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.tier != "" && len(validation.IsDNS1123Label(p.tier)) > 0 {
		errs = append(errs, field.Invalid(spec.Child("tier"), p.tier, "must be the name of a tier: lower case "+
			"letters, digits and dashes"))
	}
	errs = append(errs, rule.Selector(spec.Child("selector"), p.selector)...)
	errs = append(errs, rule.Selector(spec.Child("serviceAccountSelector"), p.accounts)...)
	return append(errs, rules(spec, p.ingress, p.egress, p.namespaced)...)
}

func rules(spec *field.Path, ingress, egress []v3.Rule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range ingress {
		if len(errs) >= schema.MostErrors {
			break
		}
		at := spec.Child("ingress").Index(i)
		errs = append(errs, oneRule(at, &ingress[i], namespaced)...)
		if ingress[i].Destination.Services != nil {
			errs = append(errs, field.Forbidden(at.Child("destination", "services"), "is for egress rules: here a "+
				"Service can be the source"))
		}
	}
	for i := range egress {
		if len(errs) >= 2*schema.MostErrors {
			break
		}
		at := spec.Child("egress").Index(i)
		errs = append(errs, oneRule(at, &egress[i], namespaced)...)
		if egress[i].Source.Services != nil {
			errs = append(errs, field.Forbidden(at.Child("source", "services"), "is for ingress rules: here a "+
				"Service can be the destination"))
		}
		if egress[i].HTTP != nil {
			errs = append(errs, field.Forbidden(at.Child("http"), "is for ingress rules"))
		}
	}
	return errs
}

func globalPolicy(spec *field.Path, s *v3.GlobalNetworkPolicySpec) field.ErrorList {
	errs := globalPolicyOf(s).check(spec)
	errs = append(errs, rule.Selector(spec.Child("namespaceSelector"), s.NamespaceSelector)...)
	return errs
}

const removesOnly = "must say nothing but the tier with stagedAction Delete: it removes the policy of the same name"

func stagedPolicy(spec *field.Path, s *v3.StagedNetworkPolicySpec) field.ErrorList {
	tried := v3.NetworkPolicySpec{Tier: s.Tier, Order: s.Order, Ingress: s.Ingress, Egress: s.Egress,
		Selector: s.Selector, Types: s.Types,
		ServiceAccountSelector: s.ServiceAccountSelector, PerformanceHints: s.PerformanceHints}
	if s.StagedAction == v3.StagedActionDelete {
		return emptyBut(spec, tried, v3.NetworkPolicySpec{Tier: s.Tier})
	}
	return policyOf(&tried).check(spec)
}

func stagedGlobalPolicy(spec *field.Path, s *v3.StagedGlobalNetworkPolicySpec) field.ErrorList {
	tried := v3.GlobalNetworkPolicySpec{Tier: s.Tier, Order: s.Order, Ingress: s.Ingress, Egress: s.Egress,
		Selector: s.Selector, Types: s.Types,
		ServiceAccountSelector: s.ServiceAccountSelector, NamespaceSelector: s.NamespaceSelector,
		PerformanceHints: s.PerformanceHints,
		DoNotTrack:       s.DoNotTrack, PreDNAT: s.PreDNAT, ApplyOnForward: s.ApplyOnForward}
	if s.StagedAction == v3.StagedActionDelete {
		return emptyBut(spec, tried, v3.GlobalNetworkPolicySpec{Tier: s.Tier})
	}
	return globalPolicy(spec, &tried)
}

func emptyBut(spec *field.Path, tried, wanted any) field.ErrorList {
	if !equality.Semantic.DeepEqual(tried, wanted) {
		return field.ErrorList{field.Forbidden(spec, removesOnly)}
	}
	return nil
}

// warnings returns a warning for the rules of each direction that the types leave out.
func (p policy) warnings() []string {
	var said []string
	types := rule.Types(p.types, p.ingress, p.egress)
	for _, d := range []struct {
		name      string
		direction v3.PolicyType
		rules     []v3.Rule
	}{{"ingress", v3.PolicyTypeIngress, p.ingress}, {"egress", v3.PolicyTypeEgress, p.egress}} {
		if len(d.rules) > 0 && !slices.Contains(types, d.direction) {
			said = append(said, fmt.Sprintf("spec.%s: these rules have no effect: add %s to spec.types", d.name,
				d.direction))
		}
	}
	return said
}
