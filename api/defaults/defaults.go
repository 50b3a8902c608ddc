// Package defaults sets defaults in resources of projectcalico.org/v3 before they are stored: the defaults of their
// CRDs, and values that follow from the rest of the object, which are the types of a policy and the label with its
// tier.
// calicoctl calls it before it writes. kube-controllers calls it in a mutating webhook for all other clients. Readers
// must not depend on it: an absent value means the same as its default. The package is pure, and any number of
// goroutines may call it.
package defaults

import (
	"cmp"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/maneki-net/maneki/api/rule"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Raw sets the defaults of a kind's CRD in an object's decoded JSON, as an API server does before it reads the object.
// In a Go value, an absent field can look the same as a field that is false.
func Raw(kind string, content map[string]any) {
	if s := schema.Of(kind); s != nil {
		s.SetDefaults(content)
	}
}

// Set sets the defaults in an object. It does not change objects of other API groups.
func Set(object runtime.Object) error {
	if s := schema.For(object); s != nil {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return fmt.Errorf("convert %T to JSON: %w", object, err)
		}
		if s.SetDefaults(content) {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, object); err != nil {
				return fmt.Errorf("convert %T from JSON: %w", object, err)
			}
		}
	}
	Derive(object)
	return nil
}

// Derive sets the values that follow from the rest of the object and that no schema can express.
func Derive(object runtime.Object) {
	p, ok := policyOf(object)
	if !ok {
		return
	}
	if p.staged != v3.StagedActionDelete { // which says nothing but what it removes
		*p.types = rule.Types(*p.types, p.ingress, p.egress)
	}
	*p.tier = cmp.Or(*p.tier, v3.DefaultTier)
	label(p.meta, *p.tier)
}

// policy is what the kinds of policies have in common.
type policy struct {
	meta            metav1.Object
	tier            *string
	types           *[]v3.PolicyType
	ingress, egress []v3.Rule
	staged          v3.StagedAction
}

func policyOf(object runtime.Object) (policy, bool) {
	switch o := object.(type) {
	case *v3.NetworkPolicy:
		return policy{o, &o.Spec.Tier, &o.Spec.Types, o.Spec.Ingress, o.Spec.Egress, ""}, true
	case *v3.GlobalNetworkPolicy:
		return policy{o, &o.Spec.Tier, &o.Spec.Types, o.Spec.Ingress, o.Spec.Egress, ""}, true
	case *v3.StagedNetworkPolicy:
		return policy{o, &o.Spec.Tier, &o.Spec.Types, o.Spec.Ingress, o.Spec.Egress, o.Spec.StagedAction}, true
	case *v3.StagedGlobalNetworkPolicy:
		return policy{o, &o.Spec.Tier, &o.Spec.Types, o.Spec.Ingress, o.Spec.Egress, o.Spec.StagedAction}, true
	}
	return policy{}, false
}

// label labels a policy with the name of its tier, so that the policies of a tier can be listed. It does not change
// labels that another program may own. It ignores a name that cannot be the value of a label: validation reports it.
func label(o metav1.Object, tier string) {
	if o.GetLabels()[v3.TierLabel] == tier || len(validation.IsValidLabelValue(tier)) > 0 {
		return
	}
	labels := map[string]string{}
	maps.Copy(labels, o.GetLabels())
	labels[v3.TierLabel] = tier
	o.SetLabels(labels)
}
