package validate

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
	"github.com/maneki-net/maneki/api/schema"
)

// Every text of the CRDs that is a selector is warned of when it is empty, and no other text.
func TestEmptySelectors(t *testing.T) {
	found := 0
	for _, m := range crds.All() {
		var crd struct {
			Spec struct{ Names struct{ Kind string } }
		}
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			t.Fatal(err)
		}
		kind := crd.Spec.Names.Kind
		var want []string
		content := map[string]any{"spec": filled(schema.Of(kind).Properties["spec"], "spec", "", &want)}
		got := emptySelectors("spec", content["spec"])
		slices.Sort(want)
		slices.Sort(got)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: warned of %v, want %v", kind, got, want)
		}
		found += len(want)
		if warnings := EmptySelectors(content); len(warnings) != min(len(want), mostEmpty) {
			t.Errorf("%s: %d warnings, want %d", kind, len(warnings), len(want))
		}
		content["spec"] = filled(schema.Of(kind).Properties["spec"], "spec", "all()", &want)
		if warnings := EmptySelectors(content); len(warnings) > 0 {
			t.Errorf("%s: selectors that are not empty: %v", kind, warnings)
		}
	}
	if found < 40 {
		t.Errorf("only %d selectors", found)
	}
	const want = "spec.nodeSelector: is empty, which is the same as none; " +
		"a text that begins with ! needs quotes in YAML: '!has(label)'"
	if got := EmptySelectors(map[string]any{"spec": map[string]any{"nodeSelector": ""}}); len(got) != 1 ||
		got[0] != want {
		t.Errorf("warned %q, want %q", got, want)
	}
	for _, content := range []map[string]any{nil, {"spec": nil}, {"spec": ""},
		{"spec": map[string]any{"nodeSelector": nil}}} {
		if got := EmptySelectors(content); got != nil {
			t.Errorf("%v: %v", content, got)
		}
	}
}

// filled returns a value with one of everything that a schema has, and adds the paths of selectors. Every text in it is
// the given one.
func filled(s *schema.Schema, path, text string, selectors *[]string) any {
	switch {
	case s.Items != nil:
		return []any{filled(s.Items, path+"[0]", text, selectors)}
	case s.Properties != nil:
		object := map[string]any{}
		for name, p := range s.Properties {
			object[name] = filled(p, path+"."+name, text, selectors)
		}
		return object
	case s.Type == "string":
		if strings.Contains(strings.ToLower(path[strings.LastIndex(path, ".")+1:]), "selector") {
			*selectors = append(*selectors, path)
		}
		return text
	}
	return nil
}
