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

// Of returns the values without effect that an object of projectcalico.org/v3 sets: fields of its spec, annotations,
// labels, and its name if nothing reads an object of that name. A field without effect is one finding, whatever is
// within it. Objects of other groups have no findings.
func Of(object runtime.Object) []Finding {
	o, ok := object.(metav1.Object)
	if !ok || reflect.TypeOf(object).Elem().PkgPath() != reflect.TypeFor[v3.IPPool]().PkgPath() {
		return nil
	}
	kind := reflect.TypeOf(object).Elem().Name()
	var w walk
	if unused, ok := unusedName(object); ok {
		w.found = append(w.found, unused)
	}
	if fields := tables().kinds[kind]; fields != nil {
		if content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object); err == nil {
			// our types convert
			w.value(fields.fields["spec"], content["spec"], false)
		}
	}
	return append(w.found, append(Annotations(kind, o.GetAnnotations()), Labels(kind, o.GetLabels())...)...)
}

// walk looks at the values of one object.
type walk struct{ found []Finding }

// value looks at a value and all within it, and reports whether something of it asks for what is missing. Within
// something without effect it adds no finding.
func (w *walk) value(field *node, value any, within bool) bool {
	if field == nil || !field.incomplete {
		return false
	}
	without := field.row.State != Works
	asks := false
	text := ""
	switch v := value.(type) {
	case nil:
	case map[string]any:
		asks = w.object(field, v, within || without)
	case []any:
		for _, item := range v {
			asks = w.value(field.items, item, within || without) || asks
		}
	default:
		text = fmt.Sprint(v)
		asks = field.row.Misses(text)
	}
	if without && !within && asks {
		w.add(Finding{field.row, text})
	}
	return asks
}

// object looks at the fields of an object, or the values of a map.
func (w *walk) object(field *node, object map[string]any, within bool) bool {
	asks := false
	for _, name := range field.lacks {
		asks = w.value(field.fields[name], object[name], within) || asks
	}
	if field.values != nil && field.values.incomplete {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			asks = w.value(field.values, object[name], within) || asks
		}
	}
	return asks
}

// add adds a finding, unless an item of the same list has given it already. A list can have very many.
func (w *walk) add(f Finding) {
	const most = 100
	same := func(other Finding) bool { return other.Name == f.Name && other.Value == f.Value }
	if len(w.found) < most && !slices.ContainsFunc(w.found, same) {
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
