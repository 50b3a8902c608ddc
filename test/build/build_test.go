package build

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkout makes a module with a program, and a hack module named as a real one.
func checkout(t *testing.T) (Builder, *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	for name, body := range map[string]string{
		"go.mod":            "module example.org/x\n\ngo 1.26\n",
		"cmd/good/main.go":  "package main\n\nfunc main() {}\n",
		"cmd/bad/main.go":   "package main\n\nfunc main() { nothing() }\n",
		"hack/etcd/go.mod":  "module example.org/x/hack/etcd\n\ngo 1.26\n",
		"hack/etcd/main.go": "package main\n\nfunc main() {}\n",
	} {
		write(t, filepath.Join(root, name), body)
	}
	var progress bytes.Buffer
	b, err := New(root, &progress)
	if err != nil {
		t.Fatal(err)
	}
	return b, &progress
}

func write(t *testing.T, name, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestProgram(t *testing.T) {
	b, _ := checkout(t)
	path, err := b.Program(t.Context(), "./cmd/good")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("%s is no program: %v", path, err)
	}
	if _, err := b.Program(t.Context(), "./cmd/bad"); err == nil ||
		!strings.Contains(err.Error(), "undefined: nothing") {
		t.Errorf("want the compiler's message: %v", err)
	}
}

// TestModule builds a module once for each of its states, and keeps the last.
func TestModule(t *testing.T) {
	b, progress := checkout(t)
	first, err := b.Module(t.Context(), "etcd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(first, "etcd")); err != nil {
		t.Error(err)
	}
	progress.Reset()
	again, err := b.Module(t.Context(), "etcd")
	if err != nil || again != first || progress.Len() > 0 {
		t.Errorf("built again: %s, %v, %q", again, err, progress)
	}
	write(t, filepath.Join(b.Root, "hack/etcd/main.go"), "package main\n\nfunc main() { println() }\n")
	second, err := b.Module(t.Context(), "etcd")
	if err != nil || second == first {
		t.Errorf("a changed module is not built: %s, %v", second, err)
	}
	if exists(first) {
		t.Error("the old build stays")
	}
	if _, err := b.Module(t.Context(), "nothing"); err == nil {
		t.Error("a module that does not exist was built")
	}
}

func TestVersionFlags(t *testing.T) {
	dir := t.TempDir()
	m := module{name: "x", versioned: "k8s.io/kubernetes"}
	write(t, filepath.Join(dir, "go.mod"), "module x\n\nrequire k8s.io/kubernetes v1.36.3\n")
	flags, err := m.ldflags(dir)
	if err != nil || !strings.Contains(flags, "gitVersion=v1.36.3 ") || !strings.HasSuffix(flags, "gitMinor=36") {
		t.Errorf("%q, %v", flags, err)
	}
	write(t, filepath.Join(dir, "go.mod"), "module x\n")
	if _, err := m.ldflags(dir); err == nil {
		t.Error("a module without the requirement has a version")
	}
}
