package daemon

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/api/validate/validatetest"
	"github.com/maneki-net/maneki/calicoctl"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/datastore/kubernetes/derived"
)

// kubectl runs the real program.
func (w *world) kubectl(t *testing.T, args ...string) (output string, ok bool) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), w.server.Kubectl,
		append([]string{"--kubeconfig=" + w.server.Kubeconfig}, args...)...).CombinedOutput()
	return string(out), err == nil
}

// calicoctl runs the tool's code on the API server.
func (w *world) calicoctl(t *testing.T, input string, args ...string) (output string, ok bool) {
	t.Helper()
	store, err := kubernetes.New(w.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code := calicoctl.Run(t.Context(), calicoctl.Environment{
		Name: "calicoctl", In: strings.NewReader(input), Out: &out, Err: &out,
		Getenv: func(string) string { return "" },
		Open: func(calicoctl.Connection) (datastore.Store, error) {
			return derived.New(store.Merging()), nil
		},
	}, args)
	return out.String(), code == 0
}

// internal are the kinds that the webhook leaves alone: giving an address must not wait for it.
func internal(m validatetest.Manifest) bool {
	return m.Kind == "IPAMBlock" || m.Kind == "BlockAffinity"
}

// folder writes manifests to files that their number names.
func folder(t *testing.T, manifests []validatetest.Manifest) string {
	t.Helper()
	dir := t.TempDir()
	for i, m := range manifests {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.yaml", i)), []byte(m.YAML), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// examples are the resources of ours that the documentation has.
func examples(t *testing.T) (all []validatetest.Manifest) {
	t.Helper()
	files, err := filepath.Glob("../../docs/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.SplitSeq(string(body), "\n---\n") {
			if strings.Contains(text, "apiVersion: projectcalico.org/v3") {
				all = append(all, validatetest.Manifest{Name: file, YAML: text})
			}
		}
	}
	return all
}

// verdicts: what one program refuses the other refuses, and both say why; the same for what they take.
func (w *world) verdicts(t *testing.T) {
	var refused []validatetest.Manifest
	for _, m := range validatetest.Refused() {
		if !internal(m) {
			refused = append(refused, m)
		}
	}
	out, _ := w.kubectl(t, "create", "--dry-run=server", "-f", folder(t, refused))
	for i, m := range refused {
		want := m.Server
		if want == "" {
			want = m.Library
		}
		complaint := regexp.MustCompile(fmt.Sprintf(`(?m)^.*%03d\.yaml.*$`, i)).FindString(out)
		if complaint == "" || !strings.Contains(complaint, want) {
			t.Errorf("%s: kubectl says %q, want %q", m, complaint, want)
		}
		said, ok := w.calicoctl(t, m.YAML, "create", "--dry-run=server", "-f", "-")
		if ok || !strings.Contains(said, m.Library) {
			t.Errorf("%s: calicoctl says %q, want %q", m, said, m.Library)
		}
	}
	t.Logf("%d manifests refused by both", len(refused))

	accepted := append(validatetest.Accepted(), examples(t)...)
	if out, ok := w.kubectl(t, "apply", "--dry-run=server", "-f", folder(t, accepted)); !ok {
		t.Errorf("kubectl refuses what is right: %s", out)
	}
	for _, m := range accepted {
		if said, ok := w.calicoctl(t, m.YAML, "apply", "--dry-run=server", "-f", "-"); !ok {
			t.Errorf("%s: calicoctl refuses it: %s", m, said)
		}
	}
}

// changes: what may not be changed, by either program.
func (w *world) changes(t *testing.T) {
	const manifest = `{apiVersion: projectcalico.org/v3, kind: %s, metadata: {name: %s}, spec: %s}`
	for _, tt := range []struct{ kind, name, spec, want string }{
		{"IPPool", "first", "{cidr: 10.64.0.0/16, natOutgoing: true}",
			"spec.cidr: Invalid value: \"10.64.0.0/16\": cannot be changed"},
		{"IPPool", "first", "{cidr: 10.0.0.0/16, natOutgoing: true, blockSize: 27}",
			"cannot be changed: make another pool"},
		{"Tier", "default", "{order: 7, defaultAction: Deny}",
			"spec.order: Invalid value: 7: must be 1000000 in the tier default"},
		{"Tier", "kube-admin", "{defaultAction: Pass}", "must be 1000 in the tier kube-admin"},
		{"IPPool", "first", "{cidr: 10.0.0.0/16, natOutgoing: false, blockSize: 26}", ""},
		{"Tier", "default", "{order: 1000000, defaultAction: Pass}",
			"spec.defaultAction: Invalid value: \"Pass\": must be Deny in the tier default"},
		{"Tier", "default", "{order: 1000000, defaultAction: Deny}", ""},
	} {
		input := fmt.Sprintf(manifest, tt.kind, tt.name, tt.spec)
		file := filepath.Join(folder(t, []validatetest.Manifest{{YAML: input}}), "000.yaml")
		byKubectl, ok1 := w.kubectl(t, "replace", "--dry-run=server", "-f", file)
		byCalicoctl, ok2 := w.calicoctl(t, input, "replace", "--dry-run=server", "-f", "-")
		if ok1 != (tt.want == "") || ok2 != ok1 || !strings.Contains(byKubectl, tt.want) ||
			!strings.Contains(byCalicoctl, tt.want) {
			t.Errorf("%s\n  kubectl: %s\ncalicoctl: %s\n     want: %s", input, byKubectl, byCalicoctl, tt.want)
		}
	}
}
