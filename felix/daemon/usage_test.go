package daemon

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// What the command line does not understand is said, and the exit code is 1. None of these may start an agent.
func TestUnknownWordsAreRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // an agent that starts ends at once
	refused := map[string]string{
		"foo": `unknown command "foo" for "felix"`, "statuss": "did you mean status?", "completion": "unknown command",
		"help foo": `unknown command "foo" for "felix"`, "--foo": "felix: unknown flag: --foo",
	}
	for _, c := range command(&bytes.Buffer{}, &bytes.Buffer{}).Commands() {
		if c.Name() != "help" {
			refused[c.Name()+" foo"] = `unknown command "foo" for "felix ` + c.Name() + `"`
			refused[c.Name()+" --foo"] = "felix " + c.Name() + ": unknown flag: --foo"
		}
	}
	for line, want := range refused {
		var out, errs bytes.Buffer
		code := Main(ctx, strings.Fields(line), &out, &errs)
		if code != 1 || out.Len() > 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("felix %s: exit code %d: %q %q, want %q", line, code, out.String(), errs.String(), want)
		}
	}
	for _, line := range []string{"--help", "help", "help status", "version"} {
		var out, errs bytes.Buffer
		if code := Main(ctx, strings.Fields(line), &out, &errs); code != 0 || out.Len() == 0 {
			t.Errorf("felix %s: exit code %d: %q %q", line, code, out.String(), errs.String())
		}
	}
}
