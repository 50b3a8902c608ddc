package effects_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
	"github.com/maneki-net/maneki/api/effects"
	"github.com/maneki-net/maneki/api/schema"
	v3 "github.com/maneki-net/maneki/api/v3"
)

var classes = []effects.Class{effects.Field, effects.Setting, effects.Annotation, effects.Label, effects.Finalizer,
	effects.CNIKey, effects.Controller, effects.Metric, effects.Command}

// thing is what a row is about.
type thing struct {
	class    effects.Class
	on, name string
}

// TestComplete: everything that Calico's users can write has a row, and no field, setting or metric has one that is
// not there.
func TestComplete(t *testing.T) {
	want := calicos(t)
	for path := range fieldsOfCRDs(t) {
		want[path] = true
	}
	withoutCRD := map[string]any{"Node": v3.Node{}, "WorkloadEndpoint": v3.WorkloadEndpoint{}, "Profile": v3.Profile{}}
	for kind, object := range withoutCRD {
		for _, part := range []string{"Spec", "Status"} {
			if f, ok := reflect.TypeOf(object).FieldByName(part); ok {
				addFields(want, kind, strings.ToLower(part), f.Type)
			}
		}
	}
	have := map[thing]effects.State{}
	for _, class := range classes {
		for _, row := range effects.Rows(class) {
			have[thing{class, onOf(row), row.Name}] = row.State
		}
	}
	for w := range want {
		if have[w] == "" {
			t.Errorf("api/effects has no row of the %s %s %s: what becomes of it here?", w.class, w.on, w.name)
		}
	}
	for h, state := range have {
		// What works and is not Calico's is Maneki's own: test/structure compares it with the code.
		if !want[h] && (h.class == effects.Field || state != effects.Works) {
			t.Errorf("there is no %s %s of %s", h.class, h.name, h.on)
		}
	}
}

// onOf returns what of a row's On the list of Calico's things has: not the program of a metric.
func onOf(row effects.Row) string {
	if row.Class == effects.Metric {
		return ""
	}
	return row.On
}

// calicos reads the list of what Calico's users can write, but for fields.
func calicos(t *testing.T) map[thing]bool {
	t.Helper()
	content, err := os.ReadFile("testdata/calico.tsv")
	if err != nil {
		t.Fatal(err)
	}
	all := map[thing]bool{}
	for line := range strings.Lines(string(content)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if cells[0] == "setting" && strings.EqualFold(cells[2], "EtcdCaFile") {
			cells[2] = "EtcdCAFile" // names of settings are in any case
		}
		if cells[0] != "class" {
			all[thing{effects.Class(cells[0]), cells[1], cells[2]}] = true
		}
	}
	return all
}

// fieldsOfCRDs reads the CRDs by itself, not as the package does.
func fieldsOfCRDs(t *testing.T) map[thing]bool {
	t.Helper()
	all := map[thing]bool{}
	for _, m := range crds.All() {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
		if err := yaml.Unmarshal(m.YAML, &crd); err != nil {
			t.Fatal(err)
		}
		parts := crd.Spec.Versions[0].Schema.OpenAPIV3Schema["properties"].(map[string]any)
		for _, part := range []string{"spec", "status"} {
			if s, ok := parts[part].(map[string]any); ok {
				addSchema(all, crd.Spec.Names.Kind, part, s)
			}
		}
	}
	return all
}

func addSchema(all map[thing]bool, kind, path string, s map[string]any) {
	all[thing{effects.Field, kind, path}] = true
	if properties, ok := s["properties"].(map[string]any); ok {
		for name, p := range properties {
			addSchema(all, kind, path+"."+name, p.(map[string]any))
		}
	}
	if items, ok := s["items"].(map[string]any); ok {
		addSchema(all, kind, path+"[]", items)
	}
	if values, ok := s["additionalProperties"].(map[string]any); ok {
		addSchema(all, kind, path+"{}", values)
	}
}

// addFields adds the paths of a Go type, for kinds without a CRD.
func addFields(all map[thing]bool, kind, path string, of reflect.Type) {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	all[thing{effects.Field, kind, path}] = true
	switch {
	case of.Kind() == reflect.Slice:
		addFields(all, kind, path+"[]", of.Elem())
	case of.Kind() == reflect.Map:
		addFields(all, kind, path+"{}", of.Elem())
	case of.Kind() == reflect.Struct && of.PkgPath() == reflect.TypeFor[v3.Node]().PkgPath():
		for _, f := range reflect.VisibleFields(of) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				addFields(all, kind, path+"."+name, f.Type)
			}
		}
	}
}

// TestReasons: what has no effect has a reason, of its own or of what it is within, and what is within it has no effect
// either. What works is neither missing protection nor something that is fine with some values alone.
func TestReasons(t *testing.T) {
	for _, class := range classes {
		for _, row := range effects.Rows(class) {
			parent, within := parentOf(row)
			switch {
			case row.State == effects.Works && within && parent.State != effects.Works:
				t.Errorf("%s %s of %s works, and %s does not", class, row.Name, row.On, parent.Name)
			case row.State == effects.Works && (row.Protects || row.Unless != nil):
				t.Errorf("%s %s of %s works, and has protects or unless", class, row.Name, row.On)
			case row.State != effects.Works && row.Why == "" && (!within || parent.State == effects.Works):
				t.Errorf("%s %s of %s has no effect, and no reason", class, row.Name, row.On)
			case strings.HasSuffix(row.Why, ".") || row.Why != strings.TrimSpace(row.Why) ||
				strings.Contains(row.Why, "|"):
				t.Errorf("%s %s of %s: the reason %q is not one clause", class, row.Name, row.On, row.Why)
			}
		}
	}
}

// parentOf returns the row of what a thing is within.
func parentOf(row effects.Row) (effects.Row, bool) {
	switch {
	case row.Class == effects.Command && row.Name != "":
		return effects.Lookup(row.Class, row.On, "")
	case row.Class != effects.Field:
		return effects.Row{}, false
	}
	path := row.Name
	for _, end := range []string{"[]", "{}"} {
		if shorter, ok := strings.CutSuffix(path, end); ok {
			return effects.Lookup(row.Class, row.On, shorter)
		}
	}
	return effects.Lookup(row.Class, row.On, path[:max(0, strings.LastIndex(path, "."))])
}

// TestUnlessIsLegal: values that ask for nothing are values that users can write.
func TestUnlessIsLegal(t *testing.T) {
	for _, row := range effects.Rows(effects.Field) {
		for _, value := range row.Unless {
			if s := schemaAt(row.On, row.Name); value != effects.AnyValue && !legal(s, value) &&
				row.On != "FelixConfiguration" {
				t.Errorf("%s of %s cannot be %q", row.Name, row.On, value)
			}
		}
	}
	for _, row := range effects.Rows(effects.Setting) {
		s := schemaAt("FelixConfiguration", "spec."+row.On)
		wrong := func(value string) bool { return value != effects.AnyValue && !legal(s, value) }
		if row.On != "" && len(row.Unless) > 0 && !slices.ContainsFunc(row.Unless,
			func(v string) bool { return !wrong(v) }) {
			t.Errorf("%s of the FelixConfiguration can be none of %q", row.On, row.Unless)
		}
	}
}

func schemaAt(kind, path string) *schema.Schema {
	s := schema.Of(kind)
	for name := range strings.SplitSeq(strings.ReplaceAll(path, "[]", ".[]"), ".") {
		switch {
		case s == nil:
		case name == "[]":
			s = s.Items
		default:
			s = s.Properties[name]
		}
	}
	return s
}

func legal(s *schema.Schema, value string) bool {
	if s == nil {
		return true // kinds without a CRD
	}
	switch s.Type {
	case "boolean":
		return value == "true" || value == "false"
	case "integer":
		_, err := strconv.ParseInt(value, 10, 64)
		return err == nil
	case "array":
		return legal(s.Items, value)
	case "string", "":
		_, err := time.ParseDuration(value)
		sameText := func(choice any) bool { return strings.EqualFold(choice.(string), value) }
		return s.Accepts(value) || slices.ContainsFunc(s.Enum, sameText) || s.Pattern == "" && s.Enum == nil &&
			err == nil
	}
	return false
}

// TestDefaultsAskForNothing: an object that somebody wrote nothing into has no finding, also not once the API server
// has filled in its defaults.
func TestDefaultsAskForNothing(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, m := range effects.Rows(effects.Field) {
		if m.Name != "spec" || m.State != effects.Works || schema.Of(m.On) == nil {
			continue
		}
		content := map[string]any{"spec": map[string]any{}}
		schema.Of(m.On).SetDefaults(content)
		object, err := scheme.New(v3.GroupVersion.WithKind(m.On))
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(content)
		if err == nil {
			err = json.Unmarshal(body, object)
		}
		if err != nil {
			t.Fatal(err)
		}
		if found := effects.Of(object); len(found) > 0 {
			t.Errorf("a %s with nothing but defaults: %v", m.On, found)
		}
	}
}
