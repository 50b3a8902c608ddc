package effects

import (
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/maneki-net/maneki/api/schema"
)

//go:embed *.tsv
var files embed.FS

// felixConfiguration is the kind whose fields are settings.
const felixConfiguration = "FelixConfiguration"

type table struct {
	rows  map[Class][]Row
	index map[string]int // of rows, by key
	kinds map[string]*node
}

func key(class Class, on, name string) string {
	if class == Setting {
		on, name = "", strings.ToLower(name)
	}
	return string(class) + "\t" + on + "\t" + name
}

// tables reads the files. They are part of the program: one that cannot be read is a broken build.
var tables = sync.OnceValue(func() *table {
	t := &table{rows: map[Class][]Row{}, index: map[string]int{}, kinds: map[string]*node{}}
	for _, class := range []Class{Field, Setting, CNIKey, Controller, Metric, Command} {
		t.read(string(class), class)
	}
	for _, class := range []Class{Annotation, Label, Finalizer} {
		t.read("annotation", class)
	}
	t.addSettingFields()
	for class, rows := range t.rows {
		slices.SortFunc(rows, func(a, b Row) int {
			return cmp.Or(strings.Compare(a.On, b.On), strings.Compare(a.Name, b.Name))
		})
		for i, r := range rows {
			k := key(class, r.On, r.Name)
			if _, twice := t.index[k]; twice {
				panic(fmt.Sprintf("effects: two rows of %s %s %s", class, r.On, r.Name))
			}
			t.index[k] = i
		}
	}
	for _, r := range t.rows[Field] {
		if t.kinds[r.On] == nil {
			t.kinds[r.On] = &node{}
		}
		t.kinds[r.On].add(r.Name, r)
	}
	return t
})

// read adds the rows of one class. Lines of the file of annotations begin with their class.
func (t *table) read(file string, class Class) {
	name := map[string]string{"field": "fields.tsv", "setting": "settings.tsv", "annotation": "annotations.tsv",
		"cni": "cni.tsv", "controller": "controllers.tsv", "metric": "metrics.tsv", "command": "commands.tsv"}[file]
	content, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("effects: read %s: %v", name, err))
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	for i, line := range lines[1:] {
		cells := strings.Split(line, "\t")
		if file == "annotation" {
			if cells[0] != string(class) {
				continue
			}
			cells = cells[1:]
		}
		row, err := rowOf(class, cells)
		if err != nil {
			panic(fmt.Sprintf("effects: %s:%d: %v", name, i+2, err))
		}
		t.rows[class] = append(t.rows[class], row)
	}
}

// rowOf reads the cells on, name, state, protects, unless and why.
func rowOf(class Class, cells []string) (Row, error) {
	if len(cells) != 6 {
		return Row{}, fmt.Errorf("a row has %d cells, and must have 6", len(cells))
	}
	row := Row{Class: class, On: cells[0], Name: cells[1], State: State(cells[2]), Why: cells[5]}
	if !slices.Contains([]State{Works, None, Later}, row.State) {
		return Row{}, fmt.Errorf("state %q is none of %s, %s and %s", row.State, Works, None, Later)
	}
	switch cells[3] {
	case "":
	case "protects":
		row.Protects = true
	default:
		return Row{}, fmt.Errorf("%q is neither protects nor nothing", cells[3])
	}
	if cells[4] != "" {
		row.Unless = strings.Split(cells[4], ",")
	}
	return row, nil
}

// addSettingFields adds rows of the fields of the FelixConfiguration that are settings, and of what is within them.
func (t *table) addSettingFields() {
	t.rows[Field] = append(t.rows[Field], Row{Class: Field, On: felixConfiguration, Name: "spec", State: Works})
	spec := schema.Of(felixConfiguration).Properties["spec"]
	for _, setting := range t.rows[Setting] {
		if setting.On == "" {
			continue
		}
		for i, path := range schemaPaths("spec."+setting.On, spec.Properties[setting.On]) {
			row := setting
			row.Class, row.On, row.Name = Field, felixConfiguration, path
			if i > 0 {
				row.Why, row.Protects = "", false
			}
			if i > 0 && path != "spec."+setting.On+"[]" { // items have the values of the setting
				row.Unless = nil
			}
			t.rows[Field] = append(t.rows[Field], row)
		}
	}
}

// schemaPaths returns the path of a schema and those of all within it.
func schemaPaths(path string, s *schema.Schema) []string {
	paths := []string{path}
	if s == nil {
		return paths
	}
	for name, p := range s.Properties {
		paths = append(paths, schemaPaths(path+"."+name, p)...)
	}
	if s.Items != nil {
		paths = append(paths, schemaPaths(path+"[]", s.Items)...)
	}
	if s.AdditionalProperties != nil {
		paths = append(paths, schemaPaths(path+"{}", s.AdditionalProperties)...)
	}
	return paths
}
