package e2e

import (
	"os"
	"testing"

	"github.com/maneki-net/maneki/test/demo"
)

// TestDemo runs the demo twice, as a user may: installation, pods, the policy matrix, BGP with BIRD and a client
// outside the cluster, Felix killed under pings, metrics. Every step checks its own result.
func TestDemo(t *testing.T) {
	walk := demo.New(suite.cluster, suite.tools, suite.root, os.Stdout)
	for _, walked := range []string{"first", "again"} {
		if err := walk.Run(t.Context()); err != nil {
			t.Fatalf("%s: %v", walked, err)
		}
		suite.installed, suite.routed = true, true
	}
}
