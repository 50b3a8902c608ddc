package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

func TestMakeTargetsInTheDocumentationExist(t *testing.T) {
	blocks, err := Blocks(root)
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, b := range blocks {
		for _, target := range MakeTargets(b.Text) {
			named++
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
				t.Errorf("%s:%d: make %s: the Makefile has no such target", b.File, b.Line, target)
			}
		}
	}
	if named == 0 {
		t.Error("the documentation names no make target at all: is it parsed?")
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: link to %s leads nowhere", file, m[1])
			}
		}
	}
}

func TestEveryPageIsReachedFromTheReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages found:", err)
	}
	for _, page := range pages {
		if to := "](docs/" + filepath.Base(page) + ")"; !strings.Contains(string(readme), to) {
			t.Errorf("README.md has no link %s", to)
		}
	}
}

func TestEveryBlockIsMarked(t *testing.T) {
	blocks, err := Blocks(root)
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"sh", "text", "yaml", "go", "json", "cddl"}
	for _, b := range blocks {
		if !slices.Contains(known, b.Info) {
			t.Errorf("%s:%d: block is marked %q; want one of %s (sh blocks are run)", b.File, b.Line, b.Info,
				strings.Join(known, ", "))
		}
	}
}

func TestParse(t *testing.T) {
	got, err := parse("a.md", "x\n```sh\nls\n```\n```text\nmake demo\n```\n")
	want := []Block{{"a.md", 3, "sh", "ls\n"}, {"a.md", 6, "text", "make demo\n"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := parse("a.md", "```sh\nls\n"); err == nil {
		t.Error("an open block is accepted")
	}
	if diff := cmp.Diff([]string{"generate", "lint", "demo"},
		MakeTargets("make generate lint  # x\n  make demo NAME=a\ncmake no\n")); diff != "" {
		t.Error(diff)
	}
}
