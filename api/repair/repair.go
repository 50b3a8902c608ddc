// Package repair makes the JSON of stored resources fit their Go types where it does not. Nobody judged such an object when it
// was written, or a later version of its kind wrote it; left out as a whole it would no longer deny what it denies. What cannot
// be read is replaced by words that mean nothing, so that whoever judges the object finds the one rule or selector
// unusable, says so, and uses the rest.
//
// Of a policy nothing is ever left out. A rule that cannot be read keeps its action. A selector that cannot be read selects
// everything, or with labels as Kubernetes writes them what its other requirements select. Where a policy's place among
// the others cannot be read, it comes first in its tier, denies there what it denies, and allows nothing. A
// policy of which nothing can be read denies everything that it may select.
//
// Datastores call it for what they cannot decode. The package is pure, and any number of goroutines may call it.
package repair

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	strictjson "sigs.k8s.io/json"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
)

type raw = stdjson.RawMessage

// form says how the spec of a kind is repaired.
type form struct {
	spec reflect.Type
	// strict: a field that the type does not know cannot be read. Others than we write the kind's CRD, and a field of a
	// later one may make a rule mean less.
	strict bool
	// mend replaces a field that cannot be read; its entry otherField those without one. Without either the field is left out,
	// and lost is called.
	mend map[string]func(s *spec, name string, cause error)
	// lost puts into the spec why something is missing from the object.
	lost func(s *spec, why error)
	// unreadable is the spec of which nothing can be read; nil if the object is of no use then.
	unreadable func(cause error) any
}

const otherField = "*"

var forms = map[schema.GroupKind]form{
	calico("NetworkPolicy"):                                                  policyForm[v3.NetworkPolicySpec](),
	calico("GlobalNetworkPolicy"):                                            policyForm[v3.GlobalNetworkPolicySpec](),
	calico("StagedNetworkPolicy"):                                            policyForm[v3.StagedNetworkPolicySpec](),
	calico("StagedGlobalNetworkPolicy"):                                      policyForm[v3.StagedGlobalNetworkPolicySpec](),
	calico("StagedKubernetesNetworkPolicy"):                                  kubernetesForm[v3.StagedKubernetesNetworkPolicySpec](),
	{Group: networkingv1.GroupName, Kind: "NetworkPolicy"}:                   kubernetesForm[networkingv1.NetworkPolicySpec](),
	{Group: policyv1alpha2.GroupVersion.Group, Kind: "ClusterNetworkPolicy"}: clusterForm,
	calico("Profile"):                                                        profileForm,
	calico("HostEndpoint"):                                                   endpointForm,
	calico("NetworkSet"):                                                     setForm[v3.NetworkSetSpec](),
	calico("GlobalNetworkSet"):                                               setForm[v3.GlobalNetworkSetSpec](),
	calico("Tier"):                                                           tierForm,
}

func calico(kind string) schema.GroupKind { return v3.GroupVersion.WithKind(kind).GroupKind() }

// Strict reports whether objects of a kind have to pass JSON even if they fit the Go type.
func Strict(kind schema.GroupKind) bool { return forms[kind].strict }

// JSON returns an object's JSON as the Go type of that version of its kind takes it, or false if the kind is not one of
// these, or what is left of the object would mean nothing. Status is left out. It changes nothing that can be read.
func JSON(kind schema.GroupVersionKind, body []byte) ([]byte, bool) {
	form, ok := forms[kind.GroupKind()]
	if !ok {
		return nil, false
	}
	var object map[string]raw
	s := spec{form: form}
	cause := json.Unmarshal(body, &object)
	if cause == nil && object["spec"] != nil {
		cause = json.Unmarshal(object["spec"], &s.fields)
	}
	if cause != nil && form.unreadable == nil {
		return nil, false
	}
	if s.fields == nil {
		s.fields = map[string]raw{}
	}
	metadata, lost := repairMetadata(object["metadata"])
	repaired := map[string]any{"apiVersion": kind.GroupVersion().String(), "kind": kind.Kind, "metadata": metadata}
	if cause != nil {
		repaired["spec"] = form.unreadable(cause)
	} else {
		s.repair()
		if lost != nil {
			s.lost(&s, lostField("metadata", lost))
		}
		repaired["spec"] = s.fields
	}
	text, err := json.Marshal(repaired)
	return text, err == nil
}

// Closed returns the JSON of an object of which nothing can be read but its name, or false if a kind needs more.
func Closed(kind schema.GroupVersionKind, metadata metav1.ObjectMeta, cause error) ([]byte, bool) {
	form, ok := forms[kind.GroupKind()]
	if !ok || form.unreadable == nil {
		return nil, false
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": kind.GroupVersion().String(), "kind": kind.Kind, "metadata": metadata, "spec": form.unreadable(cause)})
	return text, err == nil
}

// unfit says why a value cannot be read; nil of one that is absent.
func unfit(value raw, as reflect.Type, strict bool) error {
	if value == nil {
		return nil
	}
	if !strict {
		return json.Unmarshal(value, reflect.New(as).Interface())
	}
	unknown, err := strictjson.UnmarshalStrict(value, reflect.New(as).Interface())
	return errors.Join(append([]error{err}, unknown...)...)
}

func fits(value raw, as reflect.Type) bool { return unfit(value, as, false) == nil }

// spec is one that is being repaired.
type spec struct {
	form
	fields map[string]raw
}

// repairMetadata keeps what can be read, and at least what says which object it is. The error says why something is lost.
func repairMetadata(metadata raw) (raw, error) {
	cause := unfit(metadata, reflect.TypeFor[metav1.ObjectMeta](), false)
	if cause == nil && metadata != nil {
		return metadata, nil
	}
	var fields map[string]raw
	_ = json.Unmarshal(metadata, &fields) // what is no object has no names
	kept := map[string]any{}
	for _, name := range []string{"name", "namespace", "uid", "resourceVersion"} {
		if value := fields[name]; value != nil && fits(value, reflect.TypeFor[string]()) {
			kept[name] = value
		}
	}
	if labels := fields["labels"]; labels != nil {
		kept["labels"] = labelsOf(labels)
	}
	return encode(kept), cause
}

// labelsOf gives those labels that can be read.
func labelsOf(value raw) map[string]string {
	var fields map[string]raw
	_ = json.Unmarshal(value, &fields) // what is no object has no labels
	kept := map[string]string{}
	for name, value := range fields {
		var text string
		if json.Unmarshal(value, &text) == nil {
			kept[name] = text
		}
	}
	return kept
}

// repair replaces the fields that cannot be read: the rules first, since others are said by a rule.
func (s *spec) repair() {
	names := []string{"ingress", "egress"}
	for _, name := range slices.Sorted(maps.Keys(s.fields)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if s.fields[name] == nil {
			continue
		}
		// By itself, so that the error of one is not that of another.
		cause := unfit(encode(map[string]raw{name: s.fields[name]}), s.spec, s.strict)
		if cause == nil {
			continue
		}
		mend := s.mend[name]
		if mend == nil {
			mend = s.mend[otherField]
		}
		if mend != nil {
			mend(s, name, cause)
			continue
		}
		delete(s.fields, name)
		s.lost(s, lostField(name, cause))
	}
}

// set gives a field another value.
func (s *spec) set(name string, value any) { s.fields[name] = encode(value) }

// elements replaces the elements of an array that cannot be read, or what is there instead of an array by one such element.
func elements(as reflect.Type, instead func(element raw, cause error) any) func(*spec, string, error) {
	return func(s *spec, name string, cause error) {
		var list []raw
		if json.Unmarshal(s.fields[name], &list) != nil {
			s.set(name, []any{instead(nil, cause)})
			return
		}
		for i, element := range list {
			if err := unfit(element, as, s.strict); err != nil {
				list[i] = encode(instead(element, err))
			}
		}
		s.set(name, list)
	}
}

// words replaces a field by words that mean nothing.
func words(s *spec, name string, cause error) { s.set(name, unreadable(cause)) }

func unreadableText(_ raw, cause error) any { return unreadable(cause) }

func unreadable(cause error) string { return fmt.Sprintf("(unreadable: %v)", cause) }

func lostField(name string, cause error) error {
	return fmt.Errorf("%s cannot be read and is left out: %w", name, cause)
}

// actionOf gives the action of a rule, if that is a word.
func actionOf(rule raw) string {
	var fields map[string]raw
	var action string
	if json.Unmarshal(rule, &fields) == nil {
		_ = json.Unmarshal(fields["action"], &action) // what is no word is no action
	}
	return action
}

func encode(value any) raw {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("repair: encode what was decoded: %v", err))
	}
	return text
}
