package e2e

import (
	"fmt"
	"testing"

	"github.com/maneki-net/maneki/test/docs"
)

// TestDocumentation runs the commands that README.md and docs/ tell a reader to type.
func TestDocumentation(t *testing.T) {
	install(t)
	blocks, err := docs.Blocks(suite.root)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, b := range blocks {
		if b.Info != "sh" {
			continue
		}
		ran++
		t.Run(fmt.Sprintf("%s:%d", b.File, b.Line), func(t *testing.T) {
			t.Log(must(t, b.Text))
		})
	}
	if ran == 0 {
		t.Error("no block of the documentation was run")
	}
}
