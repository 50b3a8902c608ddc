// Package schema checks an object's JSON against the schema of its CRD and sets defaults, as an API server does. So a
// user gets the same answers where there is no API server.
// It knows structure only. CEL rules, and checks that no schema can express, are in api/validate. The package reads the
// schemas from api/crds once. After that it is pure, and any number of goroutines may call it.
package schema

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// Schema is the part of a structural schema (OpenAPI v3 as in CRDs) that our types use.
type Schema struct {
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Pattern              string             `json:"pattern"`
	Enum                 []any              `json:"enum"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
	MinLength            *int               `json:"minLength"`
	MaxLength            *int               `json:"maxLength"`
	MinItems             *int               `json:"minItems"`
	MaxItems             *int               `json:"maxItems"`
	Default              any                `json:"default"`
	Required             []string           `json:"required"`
	Properties           map[string]*Schema `json:"properties"`
	AdditionalProperties *Schema            `json:"additionalProperties"`
	Items                *Schema            `json:"items"`
	ListType             string             `json:"x-kubernetes-list-type"`

	pattern *regexp.Regexp
}

// Of returns the schema of a kind of projectcalico.org/v3, and nil for one that has no CRD.
func Of(kind string) *Schema { return schemas()[kind] }

// For returns the schema of an object's kind, and nil for one that has no CRD. The Go type determines the kind, because
// objects need not carry it.
func For(object runtime.Object) *Schema {
	t := reflect.TypeOf(object).Elem()
	if t.PkgPath() != reflect.TypeFor[v3.IPPool]().PkgPath() {
		return nil
	}
	return Of(t.Name())
}

// schemas returns the schemas of the embedded CRDs by kind. They are part of the program: one that cannot be read is a
// broken build.
var schemas = sync.OnceValue(func() map[string]*Schema {
	all := map[string]*Schema{}
	for _, m := range crds.All() {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema *Schema }
				}
			}
		}
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			panic(fmt.Sprintf("schema: read %s: %v", m.File, err))
		}
		s := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		s.compile()
		all[crd.Spec.Names.Kind] = s
	}
	return all
})

func (s *Schema) compile() {
	if s == nil {
		return
	}
	if s.Pattern != "" {
		s.pattern = regexp.MustCompile(s.Pattern)
	}
	if number, ok := s.Default.(float64); ok && s.Type == "integer" {
		s.Default = int64(number)
	}
	for _, p := range s.Properties {
		p.compile()
	}
	s.AdditionalProperties.compile()
	s.Items.compile()
}

// MostErrors is the number of errors after which the check of a list ends. A list of a legal size can have hundreds of
// thousands of errors.
const MostErrors = 100

// CheckParts checks the spec and the status of an object, given as decoded JSON.
func (s *Schema) CheckParts(content map[string]any) field.ErrorList {
	var errs field.ErrorList
	for _, part := range []string{"spec", "status"} {
		if sub, ok := s.Properties[part]; ok && content[part] != nil {
			errs = append(errs, sub.Check(field.NewPath(part), content[part])...)
		}
	}
	return errs
}

// Check checks a decoded JSON value. It does not check types, because the value comes from a Go type.
func (s *Schema) Check(path *field.Path, value any) field.ErrorList {
	switch v := value.(type) {
	case map[string]any:
		return s.checkObject(path, v)
	case []any:
		return s.checkArray(path, v)
	case string:
		return s.checkString(path, v)
	case int64:
		return s.checkNumber(path, float64(v), v)
	case float64:
		return s.checkNumber(path, v, v)
	}
	return nil
}

func (s *Schema) checkObject(path *field.Path, object map[string]any) field.ErrorList {
	var errs field.ErrorList
	for _, name := range s.Required {
		if _, ok := object[name]; !ok && s.Properties[name].Default == nil {
			errs = append(errs, field.Required(path.Child(name), s.Properties[name].wanted()))
		}
	}
	for name, value := range object {
		if p, ok := s.Properties[name]; ok {
			wrong := p.Check(path.Child(name), value)
			if value == "" && len(wrong) > 0 && slices.Contains(s.Required, name) {
				// a Go type says so when it is absent
				wrong = field.ErrorList{field.Required(path.Child(name), p.wanted())}
			}
			errs = append(errs, wrong...)
		} else if s.AdditionalProperties != nil {
			errs = append(errs, s.AdditionalProperties.Check(path.Key(name), value)...)
		}
	}
	slices.SortFunc(errs, func(a, b *field.Error) int { return strings.Compare(a.Field, b.Field) })
	return errs
}

func (s *Schema) checkArray(path *field.Path, array []any) field.ErrorList {
	var errs field.ErrorList
	if s.MaxItems != nil && len(array) > *s.MaxItems {
		errs = append(errs, field.TooMany(path, len(array), *s.MaxItems))
	}
	if s.MinItems != nil && len(array) < *s.MinItems {
		errs = append(errs, field.Invalid(path, len(array), fmt.Sprintf("must have at least %d elements", *s.MinItems)))
	}
	seen := map[any]struct{}{}
	for i, value := range array {
		if len(errs) >= MostErrors {
			break
		}
		if s.Items != nil {
			errs = append(errs, s.Items.Check(path.Index(i), value)...)
		}
		if s.ListType == "set" { // its elements are scalars
			if _, twice := seen[value]; twice {
				errs = append(errs, field.Duplicate(path.Index(i), value))
			}
			seen[value] = struct{}{}
		}
	}
	return errs
}

// Accepts reports whether the schema allows a string.
func (s *Schema) Accepts(value string) bool { return len(s.checkString(nil, value)) == 0 }

func (s *Schema) checkString(path *field.Path, value string) field.ErrorList {
	length := utf8.RuneCountInString(value)
	switch {
	case s.Enum != nil && !slices.Contains(s.Enum, any(value)):
		return field.ErrorList{field.NotSupported(path, value, s.choices())}
	case s.MaxLength != nil && length > *s.MaxLength:
		return field.ErrorList{field.TooLong(path, value, *s.MaxLength)}
	case s.MinLength != nil && length < *s.MinLength:
		return field.ErrorList{field.Invalid(path, value, fmt.Sprintf("must have at least %d characters",
			*s.MinLength))}
	case s.pattern != nil && !s.pattern.MatchString(value):
		return field.ErrorList{field.Invalid(path, value, s.wanted())}
	case s.Format == "cidr":
		if _, err := netip.ParsePrefix(value); err != nil {
			return field.ErrorList{field.Invalid(path, value, s.wanted())}
		}
	}
	return nil
}

// choices are the enum's values but the empty one, which is a way to say that a field is absent.
func (s *Schema) choices() []string {
	var all []string
	for _, value := range s.Enum {
		if value != "" {
			all = append(all, fmt.Sprint(value))
		}
	}
	return all
}

func (s *Schema) checkNumber(path *field.Path, number float64, value any) field.ErrorList {
	if s.Enum != nil && !slices.Contains(s.Enum, any(number)) {
		return field.ErrorList{field.NotSupported(path, value, s.choices())}
	}
	if s.Minimum != nil && number < *s.Minimum || s.Maximum != nil && number > *s.Maximum {
		return field.ErrorList{field.Invalid(path, value, s.wanted())}
	}
	return nil
}

// wanted describes the values that the schema allows.
func (s *Schema) wanted() string {
	switch {
	case s.Enum != nil:
		return "must be one of " + strings.Join(s.choices(), ", ")
	case s.Format == "cidr":
		return "must be a network, for example 10.244.0.0/16 or fd00:10:244::/48"
	case strings.HasPrefix(s.Pattern, "^(?i)("):
		words, _, _ := strings.Cut(strings.TrimPrefix(s.Pattern, "^(?i)("), ")")
		return "must be one of " + strings.ReplaceAll(words, "|", ", ")
	case strings.Contains(s.Pattern, "(ms|s|m|h)"):
		return "must be a duration, for example 90s, 5m or 1h"
	case s.Pattern != "":
		return "must match the pattern " + s.Pattern
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("must be %.0f to %.0f", *s.Minimum, *s.Maximum)
	case s.Minimum != nil:
		return fmt.Sprintf("must be at least %.0f", *s.Minimum)
	}
	return ""
}

// SetDefaults sets the fields of a decoded JSON value that are absent or null and have a default. It reports whether
// there were any.
func (s *Schema) SetDefaults(value any) (changed bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, p := range s.Properties {
			if v[name] == nil && p.Default != nil { // no field with a default is nullable
				v[name] = runtime.DeepCopyJSONValue(p.Default)
				changed = true
			}
		}
		for name, child := range v {
			if p, ok := s.Properties[name]; ok {
				changed = p.SetDefaults(child) || changed
			} else if s.AdditionalProperties != nil {
				changed = s.AdditionalProperties.SetDefaults(child) || changed
			}
		}
	case []any:
		if s.Items == nil {
			return false
		}
		for _, element := range v {
			changed = s.Items.SetDefaults(element) || changed
		}
	}
	return changed
}
