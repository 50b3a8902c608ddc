package calicoctl

import (
	"fmt"

	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/calicoctl/manifest"
)

// warn prints what of an object its author can't have meant.
func (t *tool) warn(d manifest.Document) { t.warnAbout(d.Name(), validate.Warnings(d.Complete)) }

func (t *tool) warnAbout(name string, warnings []string) {
	for _, warning := range warnings {
		fmt.Fprintf(t.Err, "Warning: %s: %s\n", name, warning)
		if t.warned == nil {
			t.warned = map[string]bool{}
		}
		t.warned[warning] = true
	}
}

// HandleWarningHeader prints a warning of the API server, unless this program has printed the same. It is a
// rest.WarningHandler. Code 299 is that of warnings with a text (RFC 7234 section 5.5.7).
func (t *tool) HandleWarningHeader(code int, _, text string) {
	if code == 299 && text != "" && !t.warned[text] {
		fmt.Fprintf(t.Err, "Warning: %s\n", text)
	}
}
