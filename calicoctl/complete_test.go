package calicoctl

import (
	"strings"
	"testing"
)

// completions gives what a shell is offered for the last word of a line; a line that ends in a space has an empty one.
func (b *bench) completions(line string) string {
	b.t.Helper()
	out, _, _ := b.execute(append([]string{"__completeNoDesc"}, strings.Split(line, " ")...), "")
	offers, _, _ := strings.Cut(out, "\n:")
	if strings.HasPrefix(out, ":") {
		offers = ""
	}
	return strings.Join(strings.Fields(offers), " ")
}

func TestCompletion(t *testing.T) {
	b := newBench(t)
	b.furnish()
	for line, want := range map[string]string{
		"get ippo": "ippools", "get IPPo": "ippools",
		"get ip":         "ipamblocks ipamconfigurations ipamhandles ippools ipreservations",
		"delete ippool ": "a b", "delete ippool a ": "b", "get ippools/x ": "a b", "patch node n": "n1 n2",
		"label node ": "n1 n2", "label node n1 ": "",
		"get networkpolicies -n shop ": "web", "get networkpolicies ": "own", "get networkpolicies -n s": "shop",
		"get profile k":          "kns.shop ksa.shop.front",
		"get ippools -o ":        "ps wide yaml json name custom-columns= go-template= go-template-file=",
		"patch ippool a --type ": "json merge strategic", "apply --dry-run ": "none client server",
		"apply ": "", "get nothing ": "",
	} {
		if got := b.completions(line); got != want {
			t.Errorf("%q completes to %q, want %q", line, got, want)
		}
	}
	b.store = nil
	if got := b.completions("get ippools "); got != "" {
		t.Errorf("without a datastore: %q", got)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, errs, code := b.run("completion "+shell, ""); code != 0 || !strings.Contains(out, "calicoctl") {
			t.Errorf("completion %s: %s", shell, errs)
		}
	}
}
