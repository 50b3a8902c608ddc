package rule

import (
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Types returns the directions that a policy applies to: the named ones. If none is named, it returns Egress if there
// are egress rules, and Ingress if there are ingress rules or no rules at all.
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
