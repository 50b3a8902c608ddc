package convert

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden file")

// What testdata/old.yaml becomes is in testdata/new.yaml; remarks and errors are its comments.
func TestGolden(t *testing.T) {
	in, err := os.Open("testdata/old.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var got strings.Builder
	for _, r := range Read("old.yaml", in) {
		fmt.Fprintf(&got, "---\n# %s:%d %s\n", r.Source, r.Line, r.Name)
		for _, remark := range r.Remarks {
			fmt.Fprintf(&got, "# remark: %s\n", remark)
		}
		if r.Err != nil {
			fmt.Fprintf(&got, "# error, foreign %v: %s\n", r.Foreign(), strings.ReplaceAll(r.Err.Error(), "\n", "\n# "))
		}
		for i, d := range r.Resources {
			data, err := yaml.Marshal(d.Object)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				got.WriteString("---\n")
			}
			got.Write(data)
		}
	}
	const file = "testdata/new.yaml"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got), -update writes it:\n%s", file, diff)
	}
}

// The names are those that Calico's own upgrade gives, from its documentation and tests.
func TestNames(t *testing.T) {
	for _, test := range []struct {
		give func(string) string
		from string
		want string
	}{
		{plainName, "Node_1/a", "node-1.a"}, {plainName, "-a.-.b-", "a.b"}, {plainName, "n1", "n1"},
		{func(s string) string { return uniqueName(s, true) }, "a.b", "a.b"},
		{func(s string) string { return uniqueName(s, false) }, "a.b", "a-b-69f6642c"},
		{profileName, "k8s_ns.default", "kns.default"},
		{addressName, "192.0.2.1", "192-0-2-1"}, {addressName, "aa:bb::ff", "00aa-00bb-0000-0000-0000-0000-0000-00ff"},
	} {
		if got := test.give(test.from); got != test.want {
			t.Errorf("%s becomes %s, want %s", test.from, got, test.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	old, err := os.ReadFile("testdata/old.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for document := range strings.SplitSeq(string(old), "---\n") {
		f.Add(document)
	}
	f.Add("apiVersion: crd.projectcalico.org/v1\nkind: IPPool\n")
	f.Add("apiVersion: v1\nkind: profile\nspec: []\n")
	f.Add("a: &a [*a]\nitems: [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range Read("f", strings.NewReader(text)) {
			if r.Err == nil && len(r.Resources) == 0 {
				t.Errorf("neither a resource nor an error of %q", text)
			}
		}
	})
}
