package validate

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
)

// schema is the part of a structural schema (OpenAPI v3 as in CRDs) that our types use.
type schema struct {
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Pattern              string             `json:"pattern"`
	Enum                 []any              `json:"enum"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
	MinLength            *int               `json:"minLength"`
	MaxLength            *int               `json:"maxLength"`
	MaxItems             *int               `json:"maxItems"`
	Required             []string           `json:"required"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties *schema            `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	ListType             string             `json:"x-kubernetes-list-type"`

	pattern *regexp.Regexp
}

// schemas are those of the embedded CRDs by kind. They are part of the program: one that
// cannot be read is a broken build.
var schemas = sync.OnceValue(func() map[string]*schema {
	all := map[string]*schema{}
	for _, m := range crds.All() {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema *schema }
				}
			}
		}
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			panic(fmt.Sprintf("validate: read %s: %v", m.File, err))
		}
		s := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		s.compile()
		all[crd.Spec.Names.Kind] = s
	}
	return all
})

func (s *schema) compile() {
	if s == nil {
		return
	}
	if s.Pattern != "" {
		s.pattern = regexp.MustCompile(s.Pattern)
	}
	for _, p := range s.Properties {
		p.compile()
	}
	s.AdditionalProperties.compile()
	s.Items.compile()
}

// check judges a decoded JSON value. Types need no check: the value comes from a Go type.
func (s *schema) check(path *field.Path, value any) field.ErrorList {
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

func (s *schema) checkObject(path *field.Path, object map[string]any) field.ErrorList {
	var errs field.ErrorList
	for _, name := range s.Required {
		if value, ok := object[name]; !ok || value == "" && s.Properties[name].Format != "" {
			errs = append(errs, field.Required(path.Child(name), s.Properties[name].wanted()))
		}
	}
	for name, value := range object {
		if p, ok := s.Properties[name]; ok {
			if value != "" || !slices.Contains(s.Required, name) {
				errs = append(errs, p.check(path.Child(name), value)...)
			}
		} else if s.AdditionalProperties != nil {
			errs = append(errs, s.AdditionalProperties.check(path.Key(name), value)...)
		}
	}
	slices.SortFunc(errs, func(a, b *field.Error) int { return strings.Compare(a.Field, b.Field) })
	return errs
}

func (s *schema) checkArray(path *field.Path, array []any) field.ErrorList {
	var errs field.ErrorList
	if s.MaxItems != nil && len(array) > *s.MaxItems {
		errs = append(errs, field.TooMany(path, len(array), *s.MaxItems))
	}
	for i, value := range array {
		if s.Items != nil {
			errs = append(errs, s.Items.check(path.Index(i), value)...)
		}
		if s.ListType == "set" && slices.Contains(array[:i], value) {
			errs = append(errs, field.Duplicate(path.Index(i), value))
		}
	}
	return errs
}

func (s *schema) checkString(path *field.Path, value string) field.ErrorList {
	length := utf8.RuneCountInString(value)
	switch {
	case s.Enum != nil && !slices.Contains(s.Enum, any(value)):
		return field.ErrorList{field.NotSupported(path, value, strings.Fields(strings.Trim(fmt.Sprint(s.Enum), "[]")))}
	case s.MaxLength != nil && length > *s.MaxLength:
		return field.ErrorList{field.TooLong(path, value, *s.MaxLength)}
	case s.MinLength != nil && length < *s.MinLength:
		return field.ErrorList{field.Invalid(path, value, fmt.Sprintf("must have at least %d characters", *s.MinLength))}
	case s.pattern != nil && !s.pattern.MatchString(value):
		return field.ErrorList{field.Invalid(path, value, s.wanted())}
	case s.Format == "cidr":
		if _, err := netip.ParsePrefix(value); err != nil {
			return field.ErrorList{field.Invalid(path, value, s.wanted())}
		}
	}
	return nil
}

func (s *schema) checkNumber(path *field.Path, number float64, value any) field.ErrorList {
	if s.Minimum != nil && number < *s.Minimum || s.Maximum != nil && number > *s.Maximum {
		return field.ErrorList{field.Invalid(path, value, s.wanted())}
	}
	return nil
}

// wanted describes right values.
func (s *schema) wanted() string {
	switch {
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
