package calicoctl

import (
	"strings"
	"testing"
)

const encrypted = `apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {wireguardEnabled: true, logSeverityScreen: Info}
`

// TestWarnsOfWhatHasNoEffect: each command that takes a manifest says the same of it.
func TestWarnsOfWhatHasNoEffect(t *testing.T) {
	const want = "Warning: FelixConfiguration default (standard input:1): spec.wireguardEnabled: has no effect yet: " +
		"traffic between nodes is not encrypted\n"
	for _, line := range []string{"validate -f -", "apply -f -", "convert -f -"} {
		if out, errs, code := newBench(t).run(line, encrypted); code != 0 || errs != want {
			t.Errorf("%s: exit code %d, %q, and it says\n%swant\n%s", line, code, out, errs, want)
		}
		if _, errs, code := newBench(t).run(line, strings.Replace(encrypted, "true", "false", 1)); code != 0 ||
			errs != "" {
			t.Errorf("%s of what asks for nothing: exit code %d, and it says %s", line, code, errs)
		}
	}
}

func TestPatchWarns(t *testing.T) {
	b := newBench(t)
	if _, errs, code := b.run("apply -f -", strings.Replace(encrypted, "true", "false", 1)); code != 0 || errs != "" {
		t.Fatal(errs)
	}
	const want = "Warning: FelixConfiguration default: spec.wireguardEnabled: has no effect yet: traffic between " +
		"nodes is not encrypted\n"
	if _, errs, code := b.run(`patch felixconfiguration default -p {"spec":{"wireguardEnabled":true}}`,
		""); code != 0 || errs != want {
		t.Errorf("exit code %d, and it says\n%swant\n%s", code, errs, want)
	}
}

// TestWarningsOfTheServer are printed, each once: what this program has said already is left out.
func TestWarningsOfTheServer(t *testing.T) {
	b := newBench(t)
	out, errs, code := b.run("apply -f -", encrypted)
	if code != 0 {
		t.Fatal(out, errs)
	}
	if b.connection.Warnings == nil {
		t.Fatal("nothing takes the warnings of the API server")
	}
	var said strings.Builder
	b.connection.Warnings.(*tool).Err = &said
	_, text, _ := strings.Cut(strings.TrimSpace(errs), "(standard input:1): ")
	b.connection.Warnings.HandleWarningHeader(299, "-", text)
	b.connection.Warnings.HandleWarningHeader(299, "-", "spec: too large")
	if said.String() != "Warning: spec: too large\n" {
		t.Errorf("of %q again and another it prints %q", text, said.String())
	}
}
