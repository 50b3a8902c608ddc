// Package validate judges resources of projectcalico.org/v3: admission, calicoctl and
// Typha's input call it, so that all give the same verdict.
//
// It checks what the CRDs' schemas say, which it reads from api/crds, what their CEL rules
// say, and what neither can: the syntax of selectors, references within an object, and pools
// that overlap. Messages name the field, its value and what would be right. The package is
// pure, and any number of goroutines may call it.
package validate

import (
	"fmt"
	"net/netip"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// Object judges an object by itself. Kinds of other API groups are always right.
func Object(object runtime.Object) field.ErrorList {
	s, ok := schemas()[kindOf(object)]
	if !ok {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("convert to JSON: %w", err))}
	}
	var errs field.ErrorList
	for _, part := range []string{"spec", "status"} {
		if sub, ok := s.Properties[part]; ok && content[part] != nil {
			errs = append(errs, sub.check(field.NewPath(part), content[part])...)
		}
	}
	spec := field.NewPath("spec")
	switch o := object.(type) {
	case *v3.IPPool:
		errs = append(errs, pool(spec, &o.Spec)...)
	case *v3.BGPPeer:
		errs = append(errs, peer(spec, &o.Spec)...)
	case *v3.BGPConfiguration:
		errs = append(errs, bgpConfiguration(spec, &o.Spec)...)
	case *v3.FelixConfiguration:
		errs = append(errs, felixConfiguration(spec, &o.Spec)...)
	case *v3.IPAMBlock:
		errs = append(errs, block(spec, &o.Spec)...)
	}
	return errs
}

// Update judges an object that replaces another of the same kind and name: Object, and
// fields that cannot be changed.
func Update(object, old runtime.Object) field.ErrorList {
	errs := Object(object)
	after, ok := object.(*v3.IPPool)
	before, both := old.(*v3.IPPool)
	if !ok || !both {
		return errs
	}
	const detail = "cannot be changed: make another pool, move the pods and delete this one"
	spec := field.NewPath("spec")
	if after.Spec.CIDR != before.Spec.CIDR {
		errs = append(errs, field.Invalid(spec.Child("cidr"), after.Spec.CIDR, detail))
	} else if cidr, err := netip.ParsePrefix(after.Spec.CIDR); err == nil {
		if blockBits(&after.Spec, cidr) != blockBits(&before.Spec, cidr) {
			errs = append(errs, field.Invalid(spec.Child("blockSize"), after.Spec.BlockSize, detail))
		}
	}
	return errs
}

// Pools judges a pool against the others that there are, among which it may be itself. A
// pool with a malformed CIDR overlaps none: Object refuses it.
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
				fmt.Sprintf("overlaps IPPool %s, which is %s: choose a network outside it", other.Name, other.Spec.CIDR)))
		}
	}
	return errs
}

// kindOf gives the kind by the Go type's name, since objects need not carry theirs.
func kindOf(object runtime.Object) string {
	t := reflect.TypeOf(object).Elem()
	if t.PkgPath() != reflect.TypeFor[v3.IPPool]().PkgPath() {
		return ""
	}
	return t.Name()
}
