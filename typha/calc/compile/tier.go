package compile

import (
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// Tier says where the policies of a tier come in the order of policies, and how the tier ends.
type Tier struct {
	Order         *float64 // nil is last
	DefaultAction wire.Action
}

// TierOf returns the tier with a name. resource is its Tier, or nil if there is none. The tiers of Kubernetes and the
// default tier exist without a Tier, and are what Kubernetes says whatever their Tier says. Any other tier without a
// Tier is the last one, and denies, so that what its policies deny stays denied.
func TierOf(name string, resource *v3.TierSpec) Tier {
	says := v3.TierSpec{}
	if resource != nil {
		says = *resource
	}
	for _, builtIn := range v3.BuiltInTiers() {
		if builtIn.Name == name {
			says = builtIn.Spec
		}
	}
	t := Tier{Order: says.Order, DefaultAction: wire.Deny}
	if says.DefaultAction != nil && *says.DefaultAction == v3.Pass {
		t.DefaultAction = wire.Pass
	}
	return t
}

// TierProblem returns what of a Tier cannot be used, or the empty string.
func TierProblem(resource *v3.TierSpec) string {
	if a := resource.DefaultAction; a != nil && *a != v3.Deny && *a != v3.Pass {
		return "spec.defaultAction: " + string(*a) + " is none of Deny, Pass; it is taken for Deny"
	}
	return ""
}
