package repair

import (
	"reflect"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// selecting returns a label selector with the requirements that can be read, and one unusable requirement.
func selecting(value raw, cause error) metav1.LabelSelector {
	var fields struct {
		MatchLabels      raw   `json:"matchLabels"`
		MatchExpressions []raw `json:"matchExpressions"`
	}
	_ = json.Unmarshal(value, &fields) // what is no object requires nothing
	out := metav1.LabelSelector{MatchLabels: labelsOf(fields.MatchLabels)}
	for _, text := range fields.MatchExpressions {
		var one metav1.LabelSelectorRequirement
		if json.Unmarshal(text, &one) == nil {
			out.MatchExpressions = append(out.MatchExpressions, one)
		}
	}
	out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{
		Key: "unreadable", Operator: metav1.LabelSelectorOperator(unreadable(cause))})
	return out
}

// kubernetesForm returns the form of a NetworkPolicy of Kubernetes. Its rules only allow, so a rule that cannot be read
// becomes one whose peer is unusable.
func kubernetesForm[Spec any]() form {
	rules := func(peers string, as reflect.Type) func(*spec, string, error) {
		return elements(as, func(_ raw, cause error) any {
			return map[string]any{peers: []any{map[string]any{"podSelector": selecting(nil, cause)}}}
		})
	}
	return form{
		spec: reflect.TypeFor[Spec](),
		mend: map[string]func(*spec, string, error){
			"ingress": rules("from", reflect.TypeFor[networkingv1.NetworkPolicyIngressRule]()),
			"egress":  rules("to", reflect.TypeFor[networkingv1.NetworkPolicyEgressRule]()),
			"podSelector": func(s *spec, name string, cause error) {
				s.set(name, selecting(s.fields[name], cause))
			},
			"policyTypes": func(s *spec, name string, cause error) {
				s.set(name, bothTypes)
				s.lost(s, lostField(name, cause))
			},
		},
		lost: func(s *spec, why error) {
			direction, peers := "ingress", "from"
			if len(s.list("ingress")) == 0 && len(s.list("egress")) > 0 {
				direction, peers = "egress", "to" // the absent policyTypes follow from it
			}
			nobody := map[string]any{peers: []any{map[string]any{"podSelector": selecting(nil, why)}}}
			s.set(direction, append(s.list(direction), encode(nobody)))
		},
		unreadable: func(cause error) any {
			return map[string]any{"podSelector": selecting(nil, cause), "policyTypes": bothTypes}
		},
	}
}

// clusterSides are the directions of a ClusterNetworkPolicy, each with the field of its rules' peers.
var clusterSides = map[string]string{"ingress": "from", "egress": "to"}

// clusterRule returns an unusable rule with an action.
func clusterRule(peers, action string, cause error) any {
	return map[string]any{"action": action, peers: []any{map[string]any{"namespaces": selecting(nil, cause)}}}
}

func clusterRules(direction string, as reflect.Type) func(*spec, string, error) {
	return elements(as, func(rule raw, cause error) any {
		return clusterRule(clusterSides[direction], actionOf(rule), cause)
	})
}

var clusterForm = form{
	spec: reflect.TypeFor[policyv1alpha2.ClusterNetworkPolicySpec](), strict: true,
	mend: map[string]func(*spec, string, error){
		"ingress": clusterRules("ingress", reflect.TypeFor[policyv1alpha2.ClusterNetworkPolicyIngressRule]()),
		"egress":  clusterRules("egress", reflect.TypeFor[policyv1alpha2.ClusterNetworkPolicyEgressRule]()),
		"subject": func(s *spec, name string, cause error) { s.set(name, clusterSubject(s.fields[name], cause)) },
		"tier":    words,
		"priority": func(s *spec, name string, cause error) {
			delete(s.fields, name)
			clusterFirst(s, lostField(name, cause))
		},
		otherField: func(s *spec, name string, cause error) { // its meaning is unknown
			delete(s.fields, name)
			why := lostField(name, cause)
			if len(s.list("ingress"))+len(s.list("egress")) == 0 {
				denyAll(s, why)
			}
			clusterFirst(s, why)
		},
	},
	lost: func(s *spec, why error) { // a tier of Kubernetes passes packets that no rule matches
		accept := string(policyv1alpha2.ClusterNetworkPolicyRuleActionAccept)
		s.set("ingress", append(s.list("ingress"), encode(clusterRule("from", accept, why))))
	},
	unreadable: func(cause error) any {
		s := spec{fields: map[string]raw{}}
		s.set("tier", policyv1alpha2.AdminTier)
		s.set("priority", 0)
		s.set("subject", clusterSubject(nil, cause))
		denyAll(&s, cause)
		return s.fields
	},
}

// denyAll gives both directions a rule that denies and whose peers are unusable.
func denyAll(s *spec, why error) {
	for direction, peers := range clusterSides {
		s.set(direction, []any{clusterRule(peers, string(policyv1alpha2.ClusterNetworkPolicyRuleActionDeny), why)})
	}
}

// clusterSubject returns a subject with the parts that can be read, and marks it as unusable.
func clusterSubject(value raw, cause error) any {
	var fields map[string]raw
	_ = json.Unmarshal(value, &fields) // a value that is not an object has no part that can be read
	if fields["pods"] == nil {
		return map[string]any{"namespaces": selecting(fields["namespaces"], cause)}
	}
	var pods struct {
		NamespaceSelector raw `json:"namespaceSelector"`
		PodSelector       raw `json:"podSelector"`
	}
	_ = json.Unmarshal(fields["pods"], &pods)
	return map[string]any{"pods": map[string]any{
		"namespaceSelector": selecting(pods.NamespaceSelector, cause),
		"podSelector":       selecting(pods.PodSelector, cause)}}
}

// clusterFirst makes a policy the first of its tier. It denies there what it denies. Its other rules become unusable:
// the policies that are now behind it might have denied what those rules accept or pass.
func clusterFirst(s *spec, why error) {
	s.set("priority", 0)
	for direction, peers := range clusterSides {
		list := s.list(direction)
		for i, rule := range list {
			if action := actionOf(rule); action != string(policyv1alpha2.ClusterNetworkPolicyRuleActionDeny) {
				list[i] = encode(clusterRule(peers, action, why))
			}
		}
		if list != nil {
			s.set(direction, list)
		}
	}
	s.lost(s, why)
}
