// Package transcript runs the golden files of calc's packages.
//
// A file is a list of steps. A step is a command, then a line "----", then what the command gave, then an empty line.
// The command is one line with its arguments, and perhaps a resource in YAML below it. A line that begins with "#"
// before a step is a comment. With -update the files are written instead of compared. Only tests import the package.
package transcript

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// Command is one step's input.
type Command struct {
	Name string
	Args []string
	body string
}

// Into reads the resource below the command.
func (c Command) Into(t *testing.T, object any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(c.body), object); err != nil {
		t.Fatalf("%s %v: %v", c.Name, c.Args, err)
	}
}

// Run runs the files testdata/*.txt. start is called for each file, and returns what runs its commands.
func Run(t *testing.T, start func(*testing.T) func(Command) string) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, error %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(string(want), start(t))
			if *update {
				err = os.WriteFile(file, []byte(got), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" && !*update {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// replay runs a file's commands and returns the file with what they give.
func replay(file string, run func(Command) string) string {
	var out strings.Builder
	for step := range strings.SplitSeq(strings.TrimSpace(file), "\n\n") {
		input, _, _ := strings.Cut(step, "\n----")
		lines := strings.Split(input, "\n")
		at := slices.IndexFunc(lines, func(line string) bool { return !strings.HasPrefix(line, "#") })
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		out.WriteString(input + "\n")
		if at < 0 {
			continue
		}
		fields := strings.Fields(lines[at])
		result := run(Command{Name: fields[0], Args: fields[1:], body: strings.Join(lines[at+1:], "\n")})
		fmt.Fprintf(&out, "----\n%s", result)
		if result != "" && !strings.HasSuffix(result, "\n") {
			out.WriteString("\n")
		}
	}
	return out.String()
}

// Format returns the fields of a value that are not zero, as {Field: value, …}. What has a String method is written
// with it.
func Format(value any) string { return format(reflect.ValueOf(value)) }

func format(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		return format(v.Elem())
	}
	if s, is := v.Interface().(fmt.Stringer); is {
		return s.String()
	}
	var parts []string
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				parts = append(parts, v.Type().Field(i).Name+": "+format(v.Field(i)))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			parts = append(parts, format(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v.Interface()) // maps are printed sorted by their keys
}
