package hub_test

import (
	"errors"
	"testing"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestVersionsOfAnotherDatastore: what a node has applied of another datastore does not count; what is of this one, or
// of one that either side does not know, does.
func TestVersionsOfAnotherDatastore(t *testing.T) {
	for _, c := range []struct {
		name, here, node, applied string
		accepted                  bool
	}{
		{"same", "x", "x", "900", false},
		{"same and not behind", "x", "x", "10", true},
		{"another", "x", "y", "900", true},
		{"an older node", "x", "", "900", false},
		{"an older node that is not ahead", "x", "", "10", true},
		{"not known here", "", "y", "900", false},
		{"not known anywhere", "", "", "900", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hubtest.Identified(t, c.here, 10)
			s, err := h.Connect(t.Context(), hub.Hello{Node: "n1", Features: wire.AllFeatures.Names(),
				Applied: map[string]string{calc.KindPod: c.applied}, Datastore: c.node})
			if err == nil {
				defer s.Close()
				if commit, err := s.Next(t.Context()); err != nil || commit.Datastore != c.here {
					t.Errorf("the first commit is of the datastore %q: %v", commit.Datastore, err)
				}
			} else if !errors.Is(err, hub.ErrBehind) {
				t.Fatal(err)
			}
			if (err == nil) != c.accepted {
				t.Errorf("got %v, want it accepted: %v", err, c.accepted)
			}
		})
	}
}
