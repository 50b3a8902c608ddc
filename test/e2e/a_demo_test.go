package e2e

import (
	"os"
	"testing"

	"github.com/maneki-net/maneki/test/demo"
)

// TestDemo walks the whole demo: installation, pods, the policy matrix, BGP with BIRD and a client
// outside, Felix killed under pings, metrics. Every step checks itself. Twice, because a
// user runs it again.
func TestDemo(t *testing.T) {
	walk := demo.New(suite.cluster, suite.tools, suite.root, os.Stdout)
	for _, walked := range []string{"first", "again"} {
		if err := walk.Run(t.Context()); err != nil {
			t.Fatalf("%s: %v", walked, err)
		}
	}
}
