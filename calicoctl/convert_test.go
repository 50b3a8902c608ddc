package calicoctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const flannelManifest = `kind: Namespace
apiVersion: v1
metadata: {name: kube-flannel}
---
kind: ConfigMap
apiVersion: v1
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data:
  net-conf.json: '{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw", "New": 1}}'
`

func TestConvertCommand(t *testing.T) {
	b := newBench(t)
	b.store = nil // it needs none
	out, errs, code := b.run("convert -f -", flannelManifest)
	const want = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default-ipv4-ippool
spec:
  cidr: 10.244.0.0/16
  ipipMode: Never
  natOutgoing: true
  vxlanMode: Never
`
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d (-want +got):\n%s", code, diff)
	}
	const said = "Namespace kube-flannel (standard input:1): not a resource of Calico " +
		"nor flannel's network: left out\n" +
		"ConfigMap kube-flannel-cfg (standard input:5): net-conf.json.Backend.New: not mapped\n"
	if diff := cmp.Diff(said, errs); diff != "" {
		t.Errorf("remarks (-want +got):\n%s", diff)
	}
	// What it writes is applied as it is.
	other := newBench(t)
	list, _, _ := b.run("convert -o json -f -", flannelManifest)
	other.want("apply -f -", list, "IPPool default-ipv4-ippool created\n")
	other.want("apply -f -", out, "IPPool default-ipv4-ippool unchanged\n")
}

func TestConvertFailures(t *testing.T) {
	const bad = "apiVersion: v1\nkind: ipPool\nmetadata: {cidr: 10.0.0.0/28}\n---\napiVersion: v1\nkind: " +
		"ipPool\nmetadata: {cidr: 10.1.0.0/16}\n"
	b := newBench(t)
	out, errs, code := b.run("convert -f -", bad)
	if code != 1 || !strings.Contains(out, "10.1.0.0/16") || strings.Contains(out, "10.0.0.0/28") {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, want := range []string{"IPPool 10-0-0-0-28 (standard input:1): spec.cidr: ",
		"Error: failed to convert 1 resources"} {
		if !strings.Contains(errs, want) {
			t.Errorf("convert says\n%s\nwithout %q", errs, want)
		}
	}
	if out, _, code := b.run("convert --ignore-validation -f -", bad); code != 0 || strings.Count(out, "\n---\n") != 1 {
		t.Errorf("without validation: exit code %d: %s", code, out)
	}
	b.refused("convert -f -", "kind: Namespace\napiVersion: v1\n", "there is nothing to convert")
	b.refused("convert -f -", "a: [", "not YAML")
	b.refused("convert", "", "say what: -f FILE")
	b.refused("convert -o wide -f -", "", "-o wide: must be yaml or json")
	b.refused("convert -f http://example.org/a.yaml", "", "URLs are not read")
	if out, _, code := b.run("convert --skip-empty -f -", ""); code != 0 || out != "" {
		t.Errorf("nothing to convert: exit code %d: %s", code, out)
	}

	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(flannelManifest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, _, code := b.run("convert -f "+dir, ""); code != 0 || strings.Count(out, "kind: IPPool") != 1 {
		t.Errorf("a folder: exit code %d: %s", code, out)
	}
}
