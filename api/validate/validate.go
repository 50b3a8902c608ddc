// Package validate validates resources of projectcalico.org/v3. Admission, calicoctl and the controllers that write
// status call it, so that all of them accept and refuse the same. The parts of a rule that make it unusable are in
// api/rule, which the calculation uses, too.
//
// The package checks the schemas of the CRDs and evaluates their CEL rules, as an API server does, and checks what
// neither can express: the syntax of selectors, references within an object, and pools that overlap. Messages name the
// field and what would be right. The package is pure, and any number of goroutines may call it.
package validate

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/effects"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Object validates an object by itself. Objects of other API groups are always valid. It returns the first
// schema.MostErrors errors.
func Object(object runtime.Object) field.ErrorList { return check(object, nil) }

// Update validates an object that replaces another of the same kind and name.
func Update(object, old runtime.Object) field.ErrorList { return check(object, old) }

// check validates an object that replaces old, if that is not nil.
func check(object, old runtime.Object) field.ErrorList {
	o, ok := object.(metav1.Object)
	if !ok || !ours(object) {
		return nil
	}
	errs := metadata(o)
	if s := schema.For(object); s != nil {
		errs = append(errs, byDefinition(s, object, old)...)
	}
	return distinct(append(errs, spec(object)...))
}

// byDefinition checks an object against the CRD of its kind: the schema, and, if that allows the object, the CEL rules.
func byDefinition(s *schema.Schema, object, old runtime.Object) field.ErrorList {
	content, err := contentOf(object)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	errs := s.CheckParts(content)
	if len(errs) > 0 {
		return errs
	}
	s.SetDefaults(content)
	var former map[string]any
	if old != nil {
		former, err = contentOf(old)
		if err != nil {
			return field.ErrorList{field.InternalError(nil, err)}
		}
		s.SetDefaults(former)
	}
	return expressions(reflect.TypeOf(object).Elem().Name(), content, former)
}

// contentOf returns an object as an API server decodes its JSON.
func contentOf(object any) (content map[string]any, err error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("convert to JSON: %w", err)
	}
	err = json.Unmarshal(body, &content)
	if err != nil {
		return nil, fmt.Errorf("read the JSON: %w", err)
	}
	return content, nil
}

// spec checks the rules of a kind that its CRD cannot express.
func spec(object runtime.Object) field.ErrorList {
	spec := field.NewPath("spec")
	switch o := object.(type) {
	case *v3.BGPConfiguration:
		return bgpConfiguration(spec, &o.Spec)
	case *v3.BGPFilter:
		return bgpFilter(spec, &o.Spec)
	case *v3.BGPPeer:
		return peer(spec, &o.Spec)
	case *v3.FelixConfiguration:
		return append(felixConfiguration(spec, &o.Spec), felixNodes(spec, o)...)
	case *v3.GlobalNetworkPolicy:
		return globalPolicy(spec, &o.Spec)
	case *v3.GlobalNetworkSet:
		return append(setMetadata(o), networks(spec.Child("nets"), o.Spec.Nets)...)
	case *v3.HostEndpoint:
		return hostEndpoint(spec, &o.Spec)
	case *v3.IPAMBlock:
		return block(spec, &o.Spec)
	case *v3.IPAMHandle:
		return handle(spec, &o.Spec)
	case *v3.IPPool:
		return pool(spec, &o.Spec)
	case *v3.KubeControllersConfiguration:
		return kubeControllers(spec, &o.Spec)
	case *v3.NetworkPolicy:
		return policyOf(&o.Spec).check(spec)
	case *v3.NetworkSet:
		return append(setMetadata(o), networks(spec.Child("nets"), o.Spec.Nets)...)
	case *v3.Node:
		return node(o)
	case *v3.Profile:
		return profile(spec, &o.Spec)
	case *v3.StagedGlobalNetworkPolicy:
		return stagedGlobalPolicy(spec, &o.Spec)
	case *v3.StagedKubernetesNetworkPolicy:
		return stagedKubernetesPolicy(spec, &o.Spec)
	case *v3.StagedNetworkPolicy:
		return stagedPolicy(spec, &o.Spec)
	case *v3.Tier:
		return tier(spec, o)
	case *v3.WorkloadEndpoint:
		return workloadEndpoint(spec, o)
	}
	return nil
}

// Warnings returns a warning for each part of an object that is allowed but does nothing: rules of a direction that the
// types leave out, and values without effect.
func Warnings(object runtime.Object) []string {
	var said []string
	switch o := object.(type) {
	case *v3.NetworkPolicy:
		said = policyOf(&o.Spec).warnings()
	case *v3.GlobalNetworkPolicy:
		said = globalPolicyOf(&o.Spec).warnings()
	}
	for _, f := range effects.Of(object) {
		said = append(said, f.String())
	}
	return said
}

// distinct returns the errors without repetitions for the same field. It returns at most schema.MostErrors.
func distinct(errs field.ErrorList) field.ErrorList {
	var kept field.ErrorList
	for _, e := range errs {
		if len(kept) == schema.MostErrors {
			break
		}
		said := func(k *field.Error) bool {
			return k.Field == e.Field && (k.Type == field.ErrorTypeRequired || k.Detail == e.Detail)
		}
		if !slices.ContainsFunc(kept, said) {
			kept = append(kept, e)
		}
	}
	return kept
}

// Pools checks that a pool overlaps no other pool. others may contain the pool itself. A pool with a malformed CIDR
// overlaps none; Object refuses it.
func Pools(pool *v3.IPPool, others []*v3.IPPool) field.ErrorList {
	cidr, err := netip.ParsePrefix(pool.Spec.CIDR)
	if err != nil {
		return nil
	}
	var errs field.ErrorList
	for _, other := range others {
		if other.Name == pool.Name {
			continue
		}
		if taken, err := netip.ParsePrefix(other.Spec.CIDR); err == nil && cidr.Overlaps(taken) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "cidr"), pool.Spec.CIDR,
				fmt.Sprintf("overlaps IPPool %s, which is %s: choose a network outside it", other.Name,
					other.Spec.CIDR)))
		}
	}
	return errs
}

// ours reports whether an object is of projectcalico.org/v3.
func ours(object runtime.Object) bool {
	return reflect.TypeOf(object).Elem().PkgPath() == reflect.TypeFor[v3.IPPool]().PkgPath()
}
