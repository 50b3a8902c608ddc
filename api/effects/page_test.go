package effects_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/effects"
)

var update = flag.Bool("update", false, "write the page again")

const (
	page  = "../../docs/effects.md"
	begin = "<!-- What follows is made of api/effects: go test ./api/effects -run TestPage -update -->\n"
)

// sections of the page, with what their rows are about.
var sections = []struct {
	title   string
	head    string
	classes []effects.Class
}{
	{"Fields", "field", []effects.Class{effects.Field}},
	{"Settings of Felix", "setting", []effects.Class{effects.Setting}},
	{"Annotations, labels and finalizers", "key", []effects.Class{effects.Annotation, effects.Label,
		effects.Finalizer}},
	{"CNI configuration", "key", []effects.Class{effects.CNIKey}},
	{"kube-controllers", "name", []effects.Class{effects.Controller}},
	{"Metrics", "metric", []effects.Class{effects.Metric}},
	{"calicoctl", "command or flag", []effects.Class{effects.Command}},
}

// TestPage holds the page to the table.
func TestPage(t *testing.T) {
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	above, written, found := strings.Cut(string(content), begin)
	if !found {
		t.Fatalf("%s has no line %s", page, begin)
	}
	want := made()
	if *update {
		if err := os.WriteFile(page, []byte(above+begin+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, written); diff != "" {
		t.Errorf("docs/effects.md is not what the table says (-want +got):\n%s"+
			"write it with: go test ./api/effects -run TestPage -update", diff)
	}
}

func made() string {
	var out strings.Builder
	out.WriteString("\n| of | works | none | later |\n|---|---|---|---|\n")
	for _, s := range sections {
		count := map[effects.State]int{}
		for _, class := range s.classes {
			for _, row := range effects.Rows(class) {
				count[row.State]++
			}
		}
		fmt.Fprintf(&out, "| [%s](#%s) | %d | %d | %d |\n", s.title, anchor(s.title),
			count[effects.Works], count[effects.None], count[effects.Later])
	}
	for _, s := range sections {
		fmt.Fprintf(&out, "\n## %s\n", s.title)
		if s.classes[0] == effects.Setting {
			out.WriteString("\n[docs/felix.md](felix.md#settings-without-effect) has them, as `felix settings` " +
				"prints them.\n")
			continue
		}
		fmt.Fprintf(&out, "\n| %s | effect | except | why |\n|---|---|---|---|\n", s.head)
		for _, class := range s.classes {
			writeRows(&out, effects.Rows(class))
		}
	}
	return out.String()
}

func anchor(title string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(title), " ", "-"), ",", "")
}

// writeRows writes rows without effect and those that work with a difference. What is within something without effect
// is left out, and those of one thing with the same reason are one line.
func writeRows(out *strings.Builder, rows []effects.Row) {
	for i, row := range rows {
		same := func(r effects.Row) bool {
			return r.On == row.On && r.State == row.State && r.Protects == row.Protects && r.Why == row.Why &&
				slices.Equal(r.Unless, row.Unless)
		}
		if !told(row) || slices.ContainsFunc(rows[:i], same) {
			continue
		}
		var names []string
		for _, r := range rows {
			if same(r) && told(r) {
				names = append(names, r.Name)
			}
		}
		name := strings.Join(names, "`, `")
		if row.On != "" && row.On != "*" {
			name = strings.TrimSpace(row.On+" `"+name) + "`"
		} else {
			name = "`" + name + "`"
		}
		out.WriteString(row.Markdown(strings.ReplaceAll(name, " ``", "")) + "\n")
	}
}

// told reports whether the page has a row: those of settings are on another.
func told(row effects.Row) bool {
	parent, within := parentOf(row)
	return row.Why != "" && (!within || parent.State == effects.Works) &&
		(row.On != "FelixConfiguration" || row.Class != effects.Field)
}
