package stream

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// identified makes a Hub of a datastore that has been seen up to a revision.
func identified(t *testing.T, datastore string, revision int) *Hub {
	t.Helper()
	h, _ := startHub(t)
	list(t, h, revision, pod("a", "n1", "web", "10.0.0.1"))
	if err := h.Update(t.Context(), Update{Kind: calc.KindPod, Datastore: datastore}); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestVersionsOfAnotherDatastore: what a node has applied of another datastore does not count; what is of this one, or of one that
// either side does not know, does.
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
			h := identified(t, c.here, 10)
			s, err := h.Connect(t.Context(), Hello{Node: "n1", Features: wire.AllFeatures.Names(),
				Applied: map[string]string{calc.KindPod: c.applied}, Datastore: c.node})
			if err == nil {
				defer s.Close()
				if commit, err := s.Next(t.Context()); err != nil || commit.Datastore != c.here {
					t.Errorf("the first commit is of the datastore %q: %v", commit.Datastore, err)
				}
			} else if !errors.Is(err, ErrBehind) {
				t.Fatal(err)
			}
			if (err == nil) != c.accepted {
				t.Errorf("got %v, want it accepted: %v", err, c.accepted)
			}
		})
	}
}

// TestClusterMadeAnew: a node with the state of a cluster that is no more comes to the replica of one with the same node and small
// resource versions. It gets what differs, forgets the versions, and is then refused where this cluster is behind.
func TestClusterMadeAnew(t *testing.T) {
	s := newSite(t)
	address, _ := s.serve(identified(t, "new", 10), ServerOptions{})
	behind, _ := s.serve(identified(t, "new", 9), ServerOptions{})
	gone := &wire.Host{Name: "gone"}
	c := s.client(fixed(address), func(o *ClientOptions) {
		o.Held = map[wire.ID]wire.Object{gone.ID(): gone}
		o.Versions, o.Datastore = map[string]string{calc.KindPod: "900", calc.KindTier: "800"}, "old"
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.connectOnce(ctx, address) }()
	commit := next(t, c)
	if want := map[string]string{calc.KindPod: "10", calc.KindNetworkPolicy: "10"}; commit.Datastore != "new" || !maps.Equal(commit.Versions, want) {
		t.Errorf("the commit is of %q at %v, want %v", commit.Datastore, commit.Versions, want)
	}
	expect(t, commit, []string{"Endpoint/ns/a"}, []string{"Host/gone"})
	cancel()
	<-ended
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.connectOnce(ctx, behind); status.Code(errors.Unwrap(err)) != codes.FailedPrecondition {
		t.Errorf("a replica of the new cluster that is behind: %v", err)
	}
}
