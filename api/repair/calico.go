package repair

import (
	"math"
	"reflect"

	"k8s.io/apimachinery/pkg/util/json"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// nothing returns an unusable rule with the action of the rule that cannot be read.
func nothing(rule raw, cause error) any {
	return map[string]any{"action": actionOf(rule), "protocol": unreadable(cause)}
}

var rules = elements(reflect.TypeFor[v3.Rule](), nothing)

var bothTypes = []v3.PolicyType{v3.PolicyTypeIngress, v3.PolicyTypeEgress}

// policyForm returns the form of a policy of projectcalico.org/v3.
func policyForm[Spec any]() form {
	return form{
		spec: reflect.TypeFor[Spec](),
		mend: map[string]func(*spec, string, error){
			"ingress": rules, "egress": rules,
			"selector": words, "namespaceSelector": words, "serviceAccountSelector": words,
			"types": func(s *spec, name string, cause error) {
				s.set(name, bothTypes)
				s.lost(s, lostField(name, cause))
			},
			"applyOnForward": func(s *spec, name string, cause error) {
				s.set(name, true)
				s.lost(s, lostField(name, cause))
			},
			"order": first, "tier": first, "doNotTrack": first, "preDNAT": first,
		},
		lost: func(s *spec, why error) {
			direction := "ingress"
			if len(s.list("ingress")) == 0 && len(s.list("egress")) > 0 {
				direction = "egress" // the absent types follow from it
			}
			s.set(direction, append(s.list(direction), encode(map[string]any{"action": v3.Log,
				"protocol": unreadable(why)})))
		},
		unreadable: func(cause error) any {
			all := []any{nothing(nil, cause)}
			return map[string]any{"order": -math.MaxFloat64, "selector": unreadable(cause), "types": bothTypes,
				"ingress": all, "egress": all}
		},
	}
}

// first puts a policy before the others of its tier, where it may be meant to be. It denies there what it denies. Its
// other rules become unusable: the policies that are now behind it might have denied what those rules allow or pass.
func first(s *spec, name string, cause error) {
	delete(s.fields, name)
	why := lostField(name, cause)
	for _, direction := range []string{"ingress", "egress"} {
		list := s.list(direction)
		for i, rule := range list {
			if action := actionOf(rule); action != string(v3.Deny) && action != string(v3.Log) {
				list[i] = encode(without(rule, "protocol", unreadable(why)))
			}
		}
		if list != nil {
			s.set(direction, list)
		}
	}
	s.set("order", -math.MaxFloat64)
	s.lost(s, why)
}

// without returns an object with another value of one field.
func without(object raw, field string, value any) map[string]any {
	fields := map[string]any{}
	_ = json.Unmarshal(object, &fields) // a value that is not an object has no fields
	if fields == nil {
		fields = map[string]any{}
	}
	fields[field] = value
	return fields
}

// list returns the elements of a field, or none if it is not an array.
func (s *spec) list(name string) []raw {
	var list []raw
	_ = json.Unmarshal(s.fields[name], &list)
	return list
}

var profileForm = form{
	spec: reflect.TypeFor[v3.ProfileSpec](),
	mend: map[string]func(*spec, string, error){
		"ingress": rules, "egress": rules,
		"labelsToApply": func(s *spec, name string, cause error) {
			s.set(name, labelsOf(s.fields[name]))
			s.lost(s, lostField(name, cause))
		},
	},
	lost: func(s *spec, why error) {
		s.set("ingress", append(s.list("ingress"), encode(map[string]any{"action": v3.Log,
			"protocol": unreadable(why)})))
	},
}

var endpointForm = form{
	spec: reflect.TypeFor[v3.HostEndpointSpec](),
	mend: map[string]func(*spec, string, error){
		"interfaceName": words, "node": words,
		"expectedIPs": elements(reflect.TypeFor[string](), unreadableText),
		"profiles":    elements(reflect.TypeFor[string](), unreadableText),
		"ports": elements(reflect.TypeFor[v3.EndpointPort](), func(_ raw, cause error) any {
			return map[string]any{"name": "", "port": 0, "protocol": unreadable(cause)}
		}),
	},
	lost: func(s *spec, why error) { s.set("profiles", append(s.list("profiles"), encode(unreadable(why)))) },
}

// setForm returns the form of a set of networks.
func setForm[Spec any]() form {
	return form{
		spec: reflect.TypeFor[Spec](),
		mend: map[string]func(*spec, string, error){"nets": elements(reflect.TypeFor[string](), unreadableText)},
		lost: func(s *spec, why error) { s.set("nets", append(s.list("nets"), encode(unreadable(why)))) },
	}
}

// tierForm keeps the fields of a Tier that can be read. A Tier whose order cannot be read has the order of a Tier that
// does not exist.
var tierForm = form{
	spec: reflect.TypeFor[v3.TierSpec](),
	mend: map[string]func(*spec, string, error){"defaultAction": words},
	lost: func(s *spec, why error) { s.set("defaultAction", unreadable(why)) },
}
