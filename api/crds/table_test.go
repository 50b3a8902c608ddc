package crds_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/crds"
)

// Files of testdata: kinds.tsv and fields.tsv say what Calico's CRDs have, differences.tsv what ours have otherwise and
// why. Its kinds and paths may be patterns as in path.Match, in which a dot is no separator.
const (
	kindsFile       = "testdata/kinds.tsv"
	fieldsFile      = "testdata/fields.tsv"
	differencesFile = "testdata/differences.tsv"
)

// difference is one fact that the table and our CRDs do not agree on. Fact is the name of a constraint, or type,
// required, cel, or a column of kinds.tsv; of a whole field that one side lacks it is field.
type difference struct {
	kind, path, fact, theirs, ours string
}

func (d difference) String() string {
	return fmt.Sprintf("%s %s: %s is %q in the table, %q in our CRD", d.kind, d.path, d.fact, d.theirs, d.ours)
}

// allowed is a line of differencesFile.
type allowed struct {
	difference
	used bool
}

func (a *allowed) covers(d difference) bool {
	matches := func(pattern, s string) bool {
		ok, err := path.Match(strings.NewReplacer("[", `\[`, "]", `\]`).Replace(pattern), s)
		return err == nil && ok
	}
	return matches(a.kind, d.kind) && matches(a.path, d.path) && a.fact == d.fact && a.theirs == d.theirs &&
		a.ours == d.ours
}

// TestTable compares our CRDs with Calico's, row by row and in both directions.
func TestTable(t *testing.T) {
	var exceptions []*allowed
	for _, line := range lines(t, differencesFile) {
		if line[5] == "" {
			t.Errorf("%s: %s has no reason", differencesFile, line)
		}
		exceptions = append(exceptions, &allowed{difference: difference{line[0], line[1], line[2], line[3], line[4]}})
	}
	theirs, ours := tableOfFile(t), tableOfCRDs(t)
	found := compare(theirs, ours)
	differing := map[[2]string]bool{}
	for _, d := range found {
		i := slices.IndexFunc(exceptions, func(a *allowed) bool { return a.covers(d) })
		if i < 0 {
			t.Errorf("%s, and %s has no reason for it", d, differencesFile)
			continue
		}
		exceptions[i].used = true
		differing[[2]string{d.kind, d.path}] = true
	}
	for _, a := range exceptions {
		if !a.used {
			t.Errorf("%s: no such difference any more: %s", differencesFile, a.difference)
		}
	}
	covered, same := 0, 0
	for key := range theirs {
		if _, ok := ours[key]; ok {
			covered++
			if !differing[key] {
				same++
			}
		}
	}
	t.Logf("%d rows of the table: our CRDs have %d (%.1f %%), of which %d are the same in every fact and %d differ "+
		"for a reason; %d rows are ours alone",
		len(theirs), covered, 100*float64(covered)/float64(len(theirs)), same, covered-same, len(ours)-covered)
}

// facts of a row by name. Rules of CEL are facts named cel and their text.
type facts map[string]string

// table has a row for each kind, with an empty path, and for each field.
type table map[[2]string]facts

func compare(theirs, ours table) []difference {
	var found []difference
	for key, row := range theirs {
		other, ok := ours[key]
		if !ok {
			found = append(found, difference{key[0], key[1], "field", row["type"], ""})
			continue
		}
		for name := range union(row, other) {
			if row[name] != other[name] {
				fact, _, _ := strings.Cut(name, " ")
				found = append(found, difference{key[0], key[1], fact, row[name], other[name]})
			}
		}
	}
	for key, row := range ours {
		if _, ok := theirs[key]; !ok {
			found = append(found, difference{key[0], key[1], "field", "", row["type"]})
		}
	}
	slices.SortFunc(found, func(a, b difference) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return found
}

func union(a, b facts) facts {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// lines reads a table without its header.
func lines(t *testing.T, file string) [][]string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	width := strings.Count(all[0], "\t") + 1
	var split [][]string
	for _, line := range all[1:] {
		cells := strings.Split(line, "\t")
		if len(cells) > width {
			t.Fatalf("%s: %q has more than %d cells", file, line, width)
		}
		split = append(split, append(cells, make([]string, width-len(cells))...))
	}
	return split
}

func tableOfFile(t *testing.T) table {
	t.Helper()
	rows := table{}
	for _, c := range lines(t, kindsFile) {
		rows[[2]string{c[0], ""}] = facts{"plural": c[1], "shortNames": c[2], "scope": c[3], "subresources": c[4],
			"printerColumns": c[5]}
	}
	for _, c := range lines(t, fieldsFile) {
		f := facts{"type": c[2]}
		if c[3] != "" {
			f["required"] = c[3]
		}
		constraints, rules, _ := strings.Cut(" "+c[4], " cel=")
		if rules != "" {
			for rule := range strings.SplitSeq(rules, " cel=") {
				f["cel "+rule] = rule
			}
		}
		for constraints = strings.TrimSpace(constraints); constraints != ""; constraints = strings.TrimSpace(
			constraints) {
			name, rest, _ := strings.Cut(constraints, "=")
			decoder := json.NewDecoder(strings.NewReader(rest))
			var value any
			if err := decoder.Decode(&value); err != nil {
				t.Fatalf("%s: %s: %v", fieldsFile, c, err)
			}
			f[name] = text(value)
			constraints = rest[decoder.InputOffset():]
		}
		rows[[2]string{c[0], c[1]}] = f
	}
	return rows
}

// text writes a value so that equal ones are equal text. The order of an enum is of no meaning.
func text(value any) string {
	if list, ok := value.([]any); ok {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // it came from JSON
	}
	return string(encoded)
}

func tableOfCRDs(t *testing.T) table {
	t.Helper()
	rows := table{}
	for _, m := range crds.All() {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(m.YAML, &crd); err != nil {
			t.Fatalf("%s: %v", m.File, err)
		}
		version := crd.Spec.Versions[0]
		f := facts{"plural": crd.Spec.Names.Plural, "shortNames": strings.Join(crd.Spec.Names.ShortNames, ","),
			"scope": string(crd.Spec.Scope), "subresources": ""}
		if version.Subresources != nil && version.Subresources.Status != nil {
			f["subresources"] = "status"
		}
		var columns []string
		for _, c := range version.AdditionalPrinterColumns {
			columns = append(columns, c.Name+"="+c.JSONPath)
		}
		f["printerColumns"] = strings.Join(columns, "; ")
		rows[[2]string{crd.Spec.Names.Kind, ""}] = f
		var schema map[string]any
		encoded, err := json.Marshal(version.Schema.OpenAPIV3Schema)
		if err == nil {
			err = json.Unmarshal(encoded, &schema)
		}
		if err != nil {
			t.Fatalf("%s: %v", m.File, err)
		}
		for _, part := range []string{"spec", "status"} {
			if s, ok := schema["properties"].(map[string]any)[part].(map[string]any); ok {
				rows.add(crd.Spec.Names.Kind, part, s, isRequired(schema, part))
			}
		}
	}
	return rows
}

func isRequired(schema map[string]any, name string) bool {
	names, _ := schema["required"].([]any)
	return slices.Contains(names, any(name))
}

// add makes rows of a schema and of all within it. Every keyword that says what may be written is a fact.
func (rows table) add(kind, at string, schema map[string]any, required bool) {
	f := facts{}
	rows[[2]string{kind, at}] = f
	if required {
		f["required"] = "required"
	}
	for keyword, value := range schema {
		switch keyword {
		case "description", "required", "anyOf": // anyOf is how an int-or-string is written
		case "x-kubernetes-int-or-string":
			f["type"] = "int-or-string"
		case "type":
			f["type"] = value.(string)
		case "x-kubernetes-validations":
			for _, v := range value.([]any) {
				rule := v.(map[string]any)["rule"].(string)
				f["cel "+rule] = rule
			}
		case "properties":
			for name, s := range value.(map[string]any) {
				rows.add(kind, at+"."+name, s.(map[string]any), isRequired(schema, name))
			}
		case "items":
			rows.add(kind, at+"[]", value.(map[string]any), false)
		case "additionalProperties":
			rows.add(kind, at+"{}", value.(map[string]any), false)
		default:
			f[keyword] = text(value)
		}
	}
}
