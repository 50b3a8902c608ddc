package crds_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/api/selector"
	"github.com/maneki-net/maneki/test/apiserver"
	"github.com/maneki-net/maneki/test/docs"
)

const (
	checkout = "../.."
	page     = "docs/api.md"
)

// TestDocumentedClients runs each Go program of the page against an API server: it must print the block that follows.
func TestDocumentedClients(t *testing.T) {
	server := apiserver.Start(t)
	blocks, err := docs.Blocks(checkout)
	if err != nil {
		t.Fatal(err)
	}
	programs := 0
	for i, b := range blocks {
		if b.File != page || b.Info != "go" {
			continue
		}
		programs++
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(b.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "go", "run", file)
		cmd.Dir = checkout
		cmd.Env = append(os.Environ(), "KUBECONFIG="+server.Kubeconfig)
		output, err := cmd.CombinedOutput()
		if err != nil || string(output) != blocks[i+1].Text {
			t.Errorf("%s:%d: %v, it prints\n%swant\n%s", b.File, b.Line, err, output, blocks[i+1].Text)
		}
	}
	if programs < 2 {
		t.Errorf("%s has %d programs, want one of controller-runtime and one of client-go", page, programs)
	}
}

// TestDocumentedKinds compares the page's tables and texts with what they tell of.
func TestDocumentedKinds(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(checkout, page))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range lines(t, kindsFile) {
		row := "\n| " + strings.Join([]string{c[0], c[1], strings.ReplaceAll(c[2], ",", ", "), c[3]}, " | ") + " | "
		if !strings.Contains(string(content), row) {
			t.Errorf("%s has no row %s", page, row)
		}
	}
	if _, err := selector.Parse("role = 'db'"); !strings.Contains(string(content), err.Error()) {
		t.Errorf("%s does not show the error %q", page, err)
	}
}
