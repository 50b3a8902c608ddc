package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxDepth bounds the nesting of values, and so aliases that contain themselves.
const maxDepth = 64

// reader turns YAML into values for encoding/json, guided by the Go type they are for, and gathers what is wrong.
type reader struct {
	noLines bool              // in errors
	lines   []string          // of the user's file; none without one
	unknown func(path string) // takes unknown fields, which otherwise are errors; may be nil
	errs    []error

	warnings []string
}

func (r *reader) fail(node *yaml.Node, path, format string, args ...any) {
	err := fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...))
	if !r.noLines {
		err = fmt.Errorf("line %d: %w", node.Line, err)
	}
	r.errs = append(r.errs, err)
}

// value reads a node for a Go type. What it returns is meaningless once there are errors.
func (r *reader) value(node *yaml.Node, t reflect.Type, path string, depth int) any {
	if depth > maxDepth {
		r.fail(node, path, "nested deeper than %d levels", maxDepth)
		return nil
	}
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if r.tag(node, path) || node.Tag == "!!null" {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return r.special(node, t, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return r.structure(node, t, path, depth)
	case reflect.Map:
		return r.mapping(node, t, path, depth)
	case reflect.Slice, reflect.Array:
		return r.sequence(node, t, path, depth)
	}
	return r.scalar(node, t, path)
}

// special is a type with a JSON form of its own, such as a time.
func (r *reader) special(node *yaml.Node, t reflect.Type, path string) any {
	var value any
	if node.Kind == yaml.ScalarNode && node.Tag == "!!timestamp" {
		value = node.Value
	} else if err := node.Decode(&value); err != nil {
		r.fail(node, path, "%v", err)
		return nil
	}
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil {
		r.fail(node, path, "must be %s, not %s", cmp.Or(special[t], "a value that can be read: "+fmt.Sprint(err)), data)
	}
	return value
}

// special describes types with a JSON form of their own.
var special = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():        "a time, for example 2024-05-06T07:08:09Z",
	reflect.TypeFor[metav1.MicroTime]():   "a time, for example 2024-05-06T07:08:09.000000Z",
	reflect.TypeFor[metav1.Duration]():    "a duration, for example 90s, 5m or 1h",
	reflect.TypeFor[intstr.IntOrString](): "a whole number or a string",
}

func (r *reader) structure(node *yaml.Node, t reflect.Type, path string, depth int) any {
	fields := map[string]reflect.Type{}
	fieldsOf(t, fields)
	values := map[string]any{}
	r.pairs(node, path, "a mapping with "+fieldNames(fields), func(key, value *yaml.Node) {
		name := join(path, key.Value)
		field, ok := fields[key.Value]
		if !ok && r.unknown != nil {
			r.unknown(name)
			return
		}
		if !ok {
			r.fail(key, name, "unknown field%s", meant(key.Value, keysOf(fields)))
			return
		}
		values[key.Value] = r.value(value, field, name, depth+1)
	})
	return values
}

func (r *reader) mapping(node *yaml.Node, t reflect.Type, path string, depth int) any {
	values := map[string]any{}
	r.pairs(node, path, "a mapping of names to values", func(key, value *yaml.Node) {
		name := join(path, key.Value)
		if text, ok := r.text(value, t.Elem(), name); ok {
			values[key.Value] = text
			return
		}
		values[key.Value] = r.value(value, t.Elem(), name, depth+1)
	})
	return values
}

// text returns a number or a boolean of a map of texts, such as labels, as a text. Calico's tools write it so.
func (r *reader) text(node *yaml.Node, t reflect.Type, path string) (text string, ok bool) {
	if t.Kind() != reflect.String || node.Kind != yaml.ScalarNode || strings.HasPrefix(r.source(node), "!") {
		return "", false
	}
	switch node.Tag {
	case "!!bool":
		text = strings.ToLower(node.Value)
	case "!!int":
		var number any
		if node.Decode(&number) != nil {
			return "", false
		}
		text = fmt.Sprint(number)
	case "!!float":
		var number float64
		if node.Decode(&number) != nil {
			return "", false
		}
		text = strconv.FormatFloat(number, 'g', -1, 64)
	default:
		return "", false
	}
	if text != node.Value {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: %s becomes %q: put it in quotes to keep it as it is written",
			path, node.Value, text))
	}
	return text, true
}

// pairs calls each for the pairs of a mapping, with those that `<<` merges in first.
func (r *reader) pairs(node *yaml.Node, path, want string, each func(key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		r.fail(node, path, "must be %s", want)
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Tag == "!!merge" {
			r.merge(node.Content[i+1], path, want, each)
		}
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Tag == "!!merge" {
			continue
		}
		if line, twice := seen[key.Value]; twice {
			r.fail(key, join(path, key.Value), "given twice, first in line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

// merge takes the pairs of another mapping, which must not merge in turn: that could go round in circles.
func (r *reader) merge(from *yaml.Node, path, want string, each func(key, value *yaml.Node)) {
	if from.Kind == yaml.AliasNode {
		from = from.Alias
	}
	for _, inner := range from.Content {
		if inner.Tag == "!!merge" {
			r.fail(inner, path, "what << merges in must not use << itself")
			return
		}
	}
	r.pairs(from, path, want, each)
}

func (r *reader) sequence(node *yaml.Node, t reflect.Type, path string, depth int) any {
	if node.Kind != yaml.SequenceNode {
		r.fail(node, path, "must be a list")
		return nil
	}
	values := []any{}
	for i, item := range node.Content {
		values = append(values, r.value(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i), depth+1))
	}
	return values
}

func (r *reader) scalar(node *yaml.Node, t reflect.Type, path string) any {
	if node.Kind != yaml.ScalarNode {
		r.fail(node, path, "must be %s", describe(t))
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		if node.Tag == "!!str" || node.Tag == "!!timestamp" {
			return node.Value
		}
		r.fail(node, path, "must be a string, put it in quotes: %q", node.Value)
	case reflect.Bool:
		if value, ok := truth[strings.ToLower(node.Value)]; ok &&
			node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
			return value
		}
		r.fail(node, path, "must be true or false, not %q", node.Value)
	case reflect.Interface:
		var value any
		if err := node.Decode(&value); err != nil {
			r.fail(node, path, "%v", err)
		}
		return value
	case reflect.Float32, reflect.Float64:
		var value float64
		if (node.Tag == "!!int" || node.Tag == "!!float") && node.Decode(&value) == nil && !math.IsNaN(value) &&
			!math.IsInf(value, 0) {
			return value
		}
		r.fail(node, path, "must be a number, not %q", node.Value)
	default:
		if value, ok := number(node, t); ok {
			return value
		}
		r.fail(node, path, "must be %s, not %q", describe(t), node.Value)
	}
	return nil
}

// truth are the booleans of YAML 1.1, which kubectl accepts as well.
var truth = map[string]bool{
	"true": true, "yes": true, "on": true, "y": true,
	"false": false, "no": false, "off": false, "n": false,
}

// number reads a whole number that fits the type, in any form that YAML has for it.
func number(node *yaml.Node, t reflect.Type) (any, bool) {
	whole := *node
	if node.Tag == "!!float" {
		var f float64
		if node.Decode(&f) != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return nil, false
		}
		whole = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(int64(f), 10)}
	}
	value := reflect.New(t)
	err := whole.Decode(value.Interface())
	return value.Elem().Interface(), whole.Tag == "!!int" && err == nil
}

func describe(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.String:
		return "a string"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<(t.Bits()-1)-1+uint64(1)<<(t.Bits()-1))
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		limit := uint64(1) << (t.Bits() - 1)
		return fmt.Sprintf("a whole number from -%d to %d", limit, limit-1)
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a single value"
}

// fieldsOf gathers the JSON names of a struct's fields, those of inlined structs included.
func fieldsOf(t reflect.Type, fields map[string]reflect.Type) {
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && (field.Anonymous || strings.Contains(options, "inline")):
			fieldsOf(field.Type, fields)
		case name != "":
			fields[name] = field.Type
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
