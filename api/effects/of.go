package effects

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// Of returns what an object of projectcalico.org/v3 sets that has no effect: its name, if nothing reads an object of
// that name; in spec; and of annotations and labels. Of a field without effect and what is within it, the field alone is
// a finding. Objects of other groups have none.
func Of(object runtime.Object) []Finding {
	o, ok := object.(metav1.Object)
	if !ok || reflect.TypeOf(object).Elem().PkgPath() != reflect.TypeFor[v3.IPPool]().PkgPath() {
		return nil
	}
	w := walk{kind: reflect.TypeOf(object).Elem().Name()}
	if unused, ok := unusedName(object); ok {
		w.found = append(w.found, unused)
	}
	if content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object); err == nil { // our types convert
		w.value("spec", content["spec"], false)
	}
	return append(w.found, append(Annotations(w.kind, o.GetAnnotations()), Labels(w.kind, o.GetLabels())...)...)
}

// walk looks at the values of one object.
type walk struct {
	kind  string
	found []Finding
}

// value looks at a value and all within it, and reports whether something of it asks for what is missing. Within
// something without effect it adds no finding.
func (w *walk) value(path string, value any, within bool) bool {
	row, _ := Lookup(Field, w.kind, path) // without a row it is as what it is within
	without := row.State == None || row.State == Later
	asks := false
	text := ""
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			asks = w.value(w.child(path, name), v[name], within || without) || asks
		}
	case []any:
		for _, item := range v {
			asks = w.value(path+"[]", item, within || without) || asks
		}
	default:
		text = fmt.Sprint(v)
		asks = row.Misses(text)
	}
	if without && !within && asks {
		w.add(Finding{row, text})
	}
	return asks
}

// child returns the path of a field, or that of a map's values.
func (w *walk) child(path, name string) string {
	if _, isMap := Lookup(Field, w.kind, path+"{}"); isMap {
		return path + "{}"
	}
	return path + "." + name
}

// add adds a finding, unless an item of the same list has given it already.
func (w *walk) add(f Finding) {
	same := func(other Finding) bool { return other.Name == f.Name && other.Value == f.Value }
	if !slices.ContainsFunc(w.found, same) {
		w.found = append(w.found, f)
	}
}

// Annotations returns the annotations without effect on an object of a kind, be it of Kubernetes or of
// projectcalico.org/v3.
func Annotations(kind string, annotations map[string]string) []Finding {
	return byKey(Annotation, kind, annotations)
}

// Labels returns the labels without effect on an object of a kind.
func Labels(kind string, labels map[string]string) []Finding { return byKey(Label, kind, labels) }

func byKey(class Class, kind string, values map[string]string) []Finding {
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if row, ok := lookupKey(class, kind, name); ok && row.Misses(values[name]) {
			found = append(found, Finding{row, values[name]})
		}
	}
	return found
}

// lookupKey returns the row of a key: the kind's own, that of every kind, or one of all keys with a prefix.
func lookupKey(class Class, kind, name string) (Row, bool) {
	prefix, _, _ := strings.Cut(name, "/")
	for _, on := range []string{kind, "*"} {
		for _, pattern := range []string{name, prefix + "/*"} {
			if row, ok := Lookup(class, on, pattern); ok {
				row.Name = name
				return row, true
			}
		}
	}
	return Row{}, false
}
