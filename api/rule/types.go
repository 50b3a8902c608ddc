package rule

import (
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Types returns the directions that a policy applies to: those that it names; else Egress if it has rules for it, and
// Ingress if it has rules for that or none at all.
func Types(named []v3.PolicyType, ingress, egress []v3.Rule) []v3.PolicyType {
	switch {
	case len(named) > 0:
		return named
	case len(egress) == 0:
		return []v3.PolicyType{v3.PolicyTypeIngress}
	case len(ingress) == 0:
		return []v3.PolicyType{v3.PolicyTypeEgress}
	}
	return []v3.PolicyType{v3.PolicyTypeIngress, v3.PolicyTypeEgress}
}
