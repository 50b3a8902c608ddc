// Package defaults completes resources of projectcalico.org/v3 that are about to be stored: with what their CRDs have
// as defaults, and with what follows from the rest of the object: the types of a policy, and the label with its tier.
//
// calicoctl calls it before it writes, and kube-controllers in a mutating webhook for everyone else. Who reads an object
// does not count on it: what it sets is what its absence means. The package is pure, and any number of goroutines may call it.
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

// Raw sets the defaults of a kind's CRD in an object's decoded JSON, as an API server does before it reads the object. Once it
// is a Go value, a field that is absent can't always be told from one that is false.
func Raw(kind string, content map[string]any) {
	if s := schema.Of(kind); s != nil {
		s.SetDefaults(content)
	}
}

// Set completes an object. Kinds of other API groups stay as they are.
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

// Derive sets what follows from the rest of the object, and no schema can say.
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

// label has a policy carry the name of its tier, by which policies of a tier are listed. Labels that somebody else may hold are
// not changed. A name that no label can hold is left to validation, which says where it is wrong.
func label(o metav1.Object, tier string) {
	if o.GetLabels()[v3.TierLabel] == tier || len(validation.IsValidLabelValue(tier)) > 0 {
		return
	}
	labels := map[string]string{}
	maps.Copy(labels, o.GetLabels())
	labels[v3.TierLabel] = tier
	o.SetLabels(labels)
}
