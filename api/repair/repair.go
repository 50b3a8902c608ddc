// Package repair makes the JSON of stored policies fit their Go types where it does not. Nobody judged such an object when it
// was written; left out as a whole it would no longer deny what it denies. What cannot be read is replaced by
// words that mean nothing, so that whoever judges the object finds the one rule or selector unusable, and the rest of use.
//
// Datastores call it for what they cannot decode. The package is pure, and any number of goroutines may call it.
package repair

import (
	stdjson "encoding/json"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// specs are the kinds that deny something, with the type of their spec.
var specs = map[string]reflect.Type{
	"NetworkPolicy":             reflect.TypeFor[v3.NetworkPolicySpec](),
	"GlobalNetworkPolicy":       reflect.TypeFor[v3.GlobalNetworkPolicySpec](),
	"StagedNetworkPolicy":       reflect.TypeFor[v3.StagedNetworkPolicySpec](),
	"StagedGlobalNetworkPolicy": reflect.TypeFor[v3.StagedGlobalNetworkPolicySpec](),
	"Profile":                   reflect.TypeFor[v3.ProfileSpec](),
	"HostEndpoint":              reflect.TypeFor[v3.HostEndpointSpec](),
}

// JSON gives an object's JSON as its Go type takes it, or false if the kind is not one of these, or nothing of the object
// means anything.
func JSON(kind string, body []byte) ([]byte, bool) {
	spec, ok := specs[kind]
	var object, fields map[string]stdjson.RawMessage
	if !ok || json.Unmarshal(body, &object) != nil || object["spec"] != nil && json.Unmarshal(object["spec"], &fields) != nil {
		return nil, false
	}
	if !fits(object["metadata"], reflect.TypeFor[metav1.ObjectMeta]()) {
		object["metadata"] = names(object["metadata"])
	}
	object["spec"] = repairSpec(fields, spec)
	for _, field := range []string{"apiVersion", "kind"} {
		if !fits(object[field], reflect.TypeFor[string]()) {
			delete(object, field)
		}
	}
	repaired, err := json.Marshal(object)
	return repaired, err == nil
}

// fits says whether a value can be read, or is absent.
func fits(value stdjson.RawMessage, as reflect.Type) bool { return unfit(value, as) == nil }

func unfit(value stdjson.RawMessage, as reflect.Type) error {
	if value == nil {
		return nil
	}
	return json.Unmarshal(value, reflect.New(as).Interface())
}

// names keeps of metadata what says which object it is.
func names(metadata stdjson.RawMessage) stdjson.RawMessage {
	var fields map[string]stdjson.RawMessage
	_ = json.Unmarshal(metadata, &fields) // what is no object has no names
	kept := map[string]stdjson.RawMessage{}
	for _, name := range []string{"name", "namespace", "uid", "resourceVersion"} {
		if value := fields[name]; value != nil && fits(value, reflect.TypeFor[string]()) {
			kept[name] = value
		}
	}
	return encode(kept)
}

// repairSpec replaces the fields that cannot be read.
func repairSpec(fields map[string]stdjson.RawMessage, as reflect.Type) stdjson.RawMessage {
	for name, field := range fields {
		// By itself, so that the error of one is not that of another.
		err := unfit(encode(map[string]stdjson.RawMessage{name: field}), as)
		switch {
		case err == nil:
		case name == "ingress" || name == "egress":
			fields[name] = elements(field, err, reflect.TypeFor[v3.Rule](), nothing)
		case name == "ports":
			fields[name] = elements(field, err, reflect.TypeFor[v3.EndpointPort](), func(_ stdjson.RawMessage, err error) any {
				return map[string]any{"name": "", "port": 0, "protocol": unreadable(err)}
			})
		case name == "expectedIPs" || name == "profiles":
			fields[name] = elements(field, err, reflect.TypeFor[string](), func(_ stdjson.RawMessage, err error) any { return unreadable(err) })
		case name == "selector" || name == "namespaceSelector" || name == "serviceAccountSelector" || name == "interfaceName" || name == "node":
			fields[name] = encode(unreadable(err))
		default:
			delete(fields, name) // its default is as good as any
		}
	}
	return encode(fields)
}

// elements replaces the elements of an array that cannot be read, or what is there instead of an array by one such element.
func elements(value stdjson.RawMessage, cause error, as reflect.Type, instead func(stdjson.RawMessage, error) any) stdjson.RawMessage {
	var list []stdjson.RawMessage
	if json.Unmarshal(value, &list) != nil {
		return encode([]any{instead(nil, cause)})
	}
	for i, element := range list {
		if err := unfit(element, as); err != nil {
			list[i] = encode(instead(element, err))
		}
	}
	return encode(list)
}

// nothing is a rule that has the action of one that cannot be read, and a protocol that does not exist.
func nothing(value stdjson.RawMessage, cause error) any {
	var fields map[string]stdjson.RawMessage
	var action string
	if json.Unmarshal(value, &fields) == nil {
		_ = json.Unmarshal(fields["action"], &action) // what is no word is no action
	}
	return map[string]any{"action": action, "protocol": unreadable(cause)}
}

func unreadable(err error) string { return fmt.Sprintf("(unreadable: %v)", err) }

func encode(value any) stdjson.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("repair: encode what was decoded: %v", err))
	}
	return text
}
