package validate

import (
	"context"
	"fmt"
	"math"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
)

// expressions evaluates the CEL rules of a kind's CRD on the decoded JSON of an object, with the code of the API
// server. old is the object that it replaces; nil means that the object is new. The rules presuppose an object that its
// schema allows.
func expressions(kind string, content, old map[string]any) field.ErrorList {
	find, is := evaluators()[kind]
	if !is {
		return nil
	}
	var before any
	if old != nil {
		before = old
	}
	// An API server bounds the cost of a request. Here nobody else waits, and the size of the object bounds it.
	errs, _ := find().Validate(context.Background(), nil, nil, content, before, math.MaxInt64)
	return errs
}

// evaluators returns the CEL rules of the embedded CRDs by kind. The rules of a kind are compiled when they are first
// needed. The CRDs are part of the program: one that cannot be read is a broken build.
var evaluators = sync.OnceValue(func() map[string]func() *cel.Validator {
	all := map[string]func() *cel.Validator{}
	for _, m := range crds.All() {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			panic(fmt.Sprintf("validate: read %s: %v", m.File, err))
		}
		all[crd.Spec.Names.Kind] = sync.OnceValue(func() *cel.Validator {
			var internal apiextensions.JSONSchemaProps
			v1 := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, &internal,
				nil); err != nil {
				panic(fmt.Sprintf("validate: convert the schema of %s: %v", m.File, err))
			}
			structural, err := structuralschema.NewStructural(&internal)
			if err != nil {
				panic(fmt.Sprintf("validate: read the schema of %s: %v", m.File, err))
			}
			return cel.NewValidator(structural, true, celconfig.PerCallLimit)
		})
	}
	return all
})
