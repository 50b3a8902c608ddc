package v3_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// fieldsFile is Calico's field table: kind, path, type, whether it is required, constraints.
const fieldsFile = "../crds/testdata/fields.tsv"

// node is a field of the table with what is within it; [] and {} are the names of elements.
type node struct {
	kind, constraints string
	fields            map[string]*node
}

func (n *node) child(name string) *node {
	if n.fields[name] == nil {
		n.fields[name] = &node{fields: map[string]*node{}}
	}
	return n.fields[name]
}

func readFields(t *testing.T) map[string]*node {
	t.Helper()
	content, err := os.ReadFile(fieldsFile)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]*node{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(content)), "\n") {
		cells := strings.Split(line, "\t")
		if cells[0] == "kind" {
			continue
		}
		if kinds[cells[0]] == nil {
			kinds[cells[0]] = &node{kind: "object", fields: map[string]*node{}}
		}
		n := kinds[cells[0]]
		for name := range strings.SplitSeq(strings.NewReplacer("[]", ".[]", "{}", ".{}").Replace(cells[1]), ".") {
			n = n.child(name)
		}
		n.kind, n.constraints = cells[2], cells[4]
	}
	return kinds
}

// TestFieldTable reads objects that have random values in every field of the table into our types, where an unknown
// field is an error, and writes them again: nothing may be lost. False, 0 and "" are not among the values.
func TestFieldTable(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	kinds := readFields(t)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for range 100 {
			want := kinds[kind].value(t, random).(map[string]any)
			want["apiVersion"], want["kind"] = v3.GroupVersion.String(), kind
			text, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			object, err := scheme.New(v3.GroupVersion.WithKind(kind))
			if err != nil {
				t.Fatal(err)
			}
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(object); err != nil {
				t.Fatalf("read a %s: %v\n%s", kind, err, text)
			}
			if diff := cmp.Diff(plain(t, want), plain(t, object)); diff != "" {
				t.Fatalf("a %s changed on its way (- before, + after):\n%s", kind, diff)
			}
		}
	}
}

// plain is a value as JSON has it, without empty metadata.
func plain(t *testing.T, value any) any {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(object["metadata"], map[string]any{}) {
		delete(object, "metadata")
	}
	return object
}

func (n *node) value(t *testing.T, random *rand.Rand) any {
	switch n.kind {
	case "object":
		if element := n.fields["{}"]; element != nil {
			return map[string]any{"key": element.value(t, random)}
		}
		object := map[string]any{}
		for name, field := range n.fields {
			object[name] = field.value(t, random)
		}
		return object
	case "array":
		list := make([]any, 1+random.IntN(2))
		for i := range list {
			list[i] = n.fields["[]"].value(t, random)
		}
		return list
	case "boolean":
		return true
	case "number":
		return float64(1+random.IntN(1000)) / 4
	case "integer":
		return n.integer(t, random)
	case "int-or-string":
		return []any{1 + random.IntN(255), "TCP", "8000:8080"}[random.IntN(3)]
	case "string":
		return n.text(t, random)
	}
	t.Fatalf("the table has a field of type %q", n.kind)
	return nil
}

// constraint gives the JSON value of one, or nil.
func (n *node) constraint(name string) (value any) {
	_, rest, found := strings.Cut(" "+n.constraints, " "+name+"=")
	if found && json.NewDecoder(strings.NewReader(rest)).Decode(&value) != nil {
		return nil
	}
	return value
}

func (n *node) integer(t *testing.T, random *rand.Rand) any {
	if enum, ok := n.constraint("enum").([]any); ok {
		return enum[random.IntN(len(enum))]
	}
	least, most := 1, 250
	if v, ok := n.constraint("minimum").(float64); ok {
		least = max(least, int(v))
	}
	if v, ok := n.constraint("maximum").(float64); ok {
		most = int(v)
	}
	if least > most {
		t.Fatalf("no integer fits %s", n.constraints)
	}
	return least + random.IntN(most-least+1)
}

// text is a string that fits; without constraints one that is also a duration, which some strings must be.
func (n *node) text(t *testing.T, random *rand.Rand) any {
	if enum, ok := n.constraint("enum").([]any); ok {
		if i := slices.Index(enum, any("")); i >= 0 {
			enum = slices.Delete(enum, i, i+1)
		}
		return enum[random.IntN(len(enum))]
	}
	switch n.constraint("format") {
	case "date-time":
		return "2026-01-02T03:04:05Z"
	case "cidr":
		return "10.0.0.0/8"
	}
	pattern, ok := n.constraint("pattern").(string)
	if !ok {
		return (time.Duration(1+random.IntN(10_000)) * time.Second).String()
	}
	candidates := []string{"1m30s", "65001:100", "host:n1", "a=b", "a=true", "10/second", "a"}
	if words, ok := strings.CutPrefix(pattern, "^(?i)("); ok {
		candidates = strings.Split(words[:strings.Index(words, ")")], "|")
	}
	for _, candidate := range candidates {
		if regexp.MustCompile(pattern).MatchString(candidate) {
			return candidate
		}
	}
	t.Fatalf("no string here fits %s", pattern)
	return nil
}
