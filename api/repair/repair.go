// Package repair changes the JSON of stored resources that does not fit their Go types, so that it does. Such an object
// was written without validation, or by a later version of its kind. If it were left out as a whole, it would no longer
// deny what it denies. A part that cannot be read is replaced by a text without meaning. The validation then finds that
// one rule or selector unusable, reports it, and uses the rest of the object.
//
// No part of a policy is ignored. A rule that cannot be read keeps its action. A selector that cannot be read selects
// everything; a label selector of Kubernetes selects what its other requirements select. If the order or the tier of a
// policy cannot be read, the policy comes first in its tier, denies there what it denies, and allows nothing. A policy
// that cannot be read at all denies everything that it may select.
//
// Datastores call the package for objects that they cannot decode. It is pure, and any goroutine may call it.
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

// form describes how the spec of a kind is repaired.
type form struct {
	spec reflect.Type
	// strict is set if a field that the type does not know counts as unreadable. The CRD of such a kind is not ours,
	// and a field of a later CRD may narrow what a rule matches.
	strict bool
	// mend has, for each field, the function that replaces it if it cannot be read. The entry otherField is for fields
	// without an entry of their own. A field without either is left out, and lost is called.
	mend map[string]func(s *spec, name string, cause error)
	// lost puts into the spec why a part of the object is missing.
	lost func(s *spec, why error)
	// unreadable returns a spec in place of one that cannot be read at all. It is nil if the object is useless then.
	unreadable func(cause error) any
}

const otherField = "*"

var forms = map[schema.GroupKind]form{
	calico("NetworkPolicy"):                 policyForm[v3.NetworkPolicySpec](),
	calico("GlobalNetworkPolicy"):           policyForm[v3.GlobalNetworkPolicySpec](),
	calico("StagedNetworkPolicy"):           policyForm[v3.StagedNetworkPolicySpec](),
	calico("StagedGlobalNetworkPolicy"):     policyForm[v3.StagedGlobalNetworkPolicySpec](),
	calico("StagedKubernetesNetworkPolicy"): kubernetesForm[v3.StagedKubernetesNetworkPolicySpec](),
	{Group: networkingv1.GroupName,
		Kind: "NetworkPolicy"}: kubernetesForm[networkingv1.NetworkPolicySpec](),
	{Group: policyv1alpha2.GroupVersion.Group, Kind: "ClusterNetworkPolicy"}: clusterForm,
	calico("Profile"):          profileForm,
	calico("HostEndpoint"):     endpointForm,
	calico("NetworkSet"):       setForm[v3.NetworkSetSpec](),
	calico("GlobalNetworkSet"): setForm[v3.GlobalNetworkSetSpec](),
	calico("Tier"):             tierForm,
}

func calico(kind string) schema.GroupKind { return v3.GroupVersion.WithKind(kind).GroupKind() }

// Strict reports whether JSON has to be called for objects of a kind even if they fit the Go type.
func Strict(kind schema.GroupKind) bool { return forms[kind].strict }

// JSON returns an object's JSON in a form that fits the Go type of that version of its kind. It returns false if it
// does not know the kind, or if the rest of the object would mean nothing. The status is left out. Fields that can be
// read are not changed unless another field makes that necessary.
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

// Closed returns the JSON of an object of which only the metadata can be read, or false if that is useless for its
// kind.
func Closed(kind schema.GroupVersionKind, metadata metav1.ObjectMeta, cause error) ([]byte, bool) {
	form, ok := forms[kind.GroupKind()]
	if !ok || form.unreadable == nil {
		return nil, false
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": kind.GroupVersion().String(), "kind": kind.Kind, "metadata": metadata,
		"spec": form.unreadable(cause)})
	return text, err == nil
}

// unfit returns why a value cannot be read as a type. It returns nil if it can, or if there is no value.
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

// spec is a spec that is being repaired.
type spec struct {
	form
	fields map[string]raw
}

// repairMetadata returns the metadata that can be read, at least the object's name and namespace. The error is why a
// part is lost.
func repairMetadata(metadata raw) (raw, error) {
	cause := unfit(metadata, reflect.TypeFor[metav1.ObjectMeta](), false)
	if cause == nil && metadata != nil {
		return metadata, nil
	}
	var fields map[string]raw
	_ = json.Unmarshal(metadata, &fields) // a value that is not an object has no fields
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

// labelsOf returns the labels that can be read.
func labelsOf(value raw) map[string]string {
	var fields map[string]raw
	_ = json.Unmarshal(value, &fields) // a value that is not an object has no labels
	kept := map[string]string{}
	for name, value := range fields {
		var text string
		if json.Unmarshal(value, &text) == nil {
			kept[name] = text
		}
	}
	return kept
}

// repair replaces the fields that cannot be read. The rules come first, because other fields are reported by a rule.
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
		// Each field is tried by itself, so that its error is its own.
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

// set sets a field.
func (s *spec) set(name string, value any) { s.fields[name] = encode(value) }

// elements returns a function that replaces the unreadable elements of an array. A value that is not an array is
// replaced by an array with one such element.
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

// words replaces a field by a text without meaning.
func words(s *spec, name string, cause error) { s.set(name, unreadable(cause)) }

func unreadableText(_ raw, cause error) any { return unreadable(cause) }

func unreadable(cause error) string { return fmt.Sprintf("(unreadable: %v)", cause) }

func lostField(name string, cause error) error {
	return fmt.Errorf("%s cannot be read and is left out: %w", name, cause)
}

// actionOf returns the action of a rule, or the empty string if it is not a string.
func actionOf(rule raw) string {
	var fields map[string]raw
	var action string
	if json.Unmarshal(rule, &fields) == nil {
		_ = json.Unmarshal(fields["action"], &action) // anything but a string is no action
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
