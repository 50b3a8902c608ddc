package felix

import (
	"slices"
	"testing"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/routing"
)

// TestTunnelRows: each tunnel that routing wants has what the other packages need for it, and nothing twice.
func TestTunnelRows(t *testing.T) {
	tunnel.New(nil, routing.Devices()) // panics if the driver cannot make a kind
	if len(routing.Devices()) != len(routing.Tunnels) {
		t.Error("two tunnels have a device of the same name")
	}
	for _, row := range routing.Tunnels {
		if configure[row.Kind] == nil {
			t.Errorf("%s: the agent has no settings for the kind", row.Device)
		}
		published := slices.ContainsFunc(derive.TunnelAnnotations, func(a derive.TunnelAnnotation) bool {
			return a.Kind == row.Kind && dataplane.Family(a.Family) == row.Inner && a.Address != ""
		})
		if !published {
			t.Errorf("%s: no annotation publishes the address of the device", row.Device)
		}
	}
}
