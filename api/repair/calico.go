package repair

import (
	"math"
	"reflect"

	"k8s.io/apimachinery/pkg/util/json"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// nothing gives a rule without a meaning, with what the action of the one that cannot be read was.
func nothing(rule raw, cause error) any {
	return map[string]any{"action": actionOf(rule), "protocol": unreadable(cause)}
}

var rules = elements(reflect.TypeFor[v3.Rule](), nothing)

var bothTypes = []v3.PolicyType{v3.PolicyTypeIngress, v3.PolicyTypeEgress}

// policyForm is that of a policy of projectcalico.org/v3.
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
			s.set(direction, append(s.list(direction), encode(map[string]any{"action": v3.Log, "protocol": unreadable(why)})))
		},
		unreadable: func(cause error) any {
			all := []any{nothing(nil, cause)}
			return map[string]any{"order": -math.MaxFloat64, "selector": unreadable(cause), "types": bothTypes, "ingress": all, "egress": all}
		},
	}
}

// first puts a policy before the others of its tier, where it may be meant to be. What it denies is denied there. What it
// allows or passes on might have been denied by others before it.
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

// without gives an object with another value of one field.
func without(object raw, field string, value any) map[string]any {
	fields := map[string]any{}
	_ = json.Unmarshal(object, &fields) // what is no object has no fields
	if fields == nil {
		fields = map[string]any{}
	}
	fields[field] = value
	return fields
}

// list gives the elements of a field; none if it is no array.
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
		s.set("ingress", append(s.list("ingress"), encode(map[string]any{"action": v3.Log, "protocol": unreadable(why)})))
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

// setForm is that of a set of networks.
func setForm[Spec any]() form {
	return form{
		spec: reflect.TypeFor[Spec](),
		mend: map[string]func(*spec, string, error){"nets": elements(reflect.TypeFor[string](), unreadableText)},
		lost: func(s *spec, why error) { s.set("nets", append(s.list("nets"), encode(unreadable(why)))) },
	}
}

// tierForm keeps of a Tier what can be read. One whose place cannot be read is where one is that nobody made.
var tierForm = form{
	spec: reflect.TypeFor[v3.TierSpec](),
	mend: map[string]func(*spec, string, error){"defaultAction": words},
	lost: func(s *spec, why error) { s.set("defaultAction", unreadable(why)) },
}
