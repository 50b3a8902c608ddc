package validate

import (
	"fmt"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// metadata checks the metadata of any kind, as an API server does. The namespace may be absent, because the writer of
// the object sets it.
func metadata(o metav1.Object) field.ErrorList {
	path := field.NewPath("metadata")
	var errs field.ErrorList
	if o.GetName() == "" && o.GetGenerateName() == "" {
		errs = append(errs, field.Required(path.Child("name"), "name or generateName is required"))
	}
	if o.GetName() != "" {
		for _, wrong := range apivalidation.NameIsDNSSubdomain(o.GetName(), false) {
			errs = append(errs, field.Invalid(path.Child("name"), o.GetName(), wrong))
		}
	}
	if o.GetNamespace() != "" {
		for _, wrong := range apivalidation.ValidateNamespaceName(o.GetNamespace(), false) {
			errs = append(errs, field.Invalid(path.Child("namespace"), o.GetNamespace(), wrong))
		}
	}
	errs = append(errs, apivalidation.ValidateFinalizers(o.GetFinalizers(), path.Child("finalizers"))...)
	errs = append(errs, apivalidation.ValidateOwnerReferences(o.GetOwnerReferences(), path.Child("ownerReferences"))...)
	errs = append(errs, metav1validation.ValidateLabels(o.GetLabels(), path.Child("labels"))...)
	return append(errs, apivalidation.ValidateAnnotations(o.GetAnnotations(), path.Child("annotations"))...)
}

// setMetadata checks the labels of a network set. One label is reserved for the system.
func setMetadata(o metav1.Object) field.ErrorList {
	if value, there := o.GetLabels()[v3.LabelNamespace]; there {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "labels").Key(v3.LabelNamespace), value,
			"is set by the system: remove it")}
	}
	return nil
}

// builtIn returns the tier of this name that always exists, or nil.
func builtIn(name string) *v3.Tier {
	for _, t := range v3.BuiltInTiers() {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func tier(spec *field.Path, o *v3.Tier) field.ErrorList {
	var errs field.ErrorList
	// A tier's name is the value of a label.
	for _, wrong := range validation.IsDNS1123Label(o.Name) {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), o.Name, wrong))
	}
	if action := o.Spec.DefaultAction; action != nil && *action != v3.Deny && *action != v3.Pass {
		errs = append(errs, field.Invalid(spec.Child("defaultAction"), *action, "must be Deny or Pass"))
	}
	is := builtIn(o.Name)
	if is == nil {
		return errs
	}
	if o.Spec.Order == nil || *o.Spec.Order != *is.Spec.Order {
		errs = append(errs, field.Invalid(spec.Child("order"), o.Spec.Order,
			fmt.Sprintf("must be %.0f in the tier %s", *is.Spec.Order, o.Name)))
	}
	// Kubernetes defines the default action: a NetworkPolicy denies what it does not allow, a ClusterNetworkPolicy
	// passes it on.
	action := v3.Deny // by default
	if o.Spec.DefaultAction != nil {
		action = *o.Spec.DefaultAction
	}
	if action != *is.Spec.DefaultAction {
		errs = append(errs, field.Invalid(spec.Child("defaultAction"), action,
			fmt.Sprintf("must be %s in the tier %s", *is.Spec.DefaultAction, o.Name)))
	}
	return errs
}

// DeleteTier returns an error if a tier cannot be deleted. policies are the names of some or all policies of the tier.
func DeleteTier(name string, policies []string) error {
	const most = 5
	if builtIn(name) != nil {
		return fmt.Errorf("tier %s cannot be deleted: it always exists", name)
	}
	if len(policies) == 0 {
		return nil
	}
	named := strings.Join(policies[:min(most, len(policies))], ", ")
	if len(policies) > most {
		named += fmt.Sprintf(" and %d more", len(policies)-most)
	}
	return fmt.Errorf("tier %s cannot be deleted while it has policies: delete them first, or give them another "+
		"tier: %s", name, named)
}
