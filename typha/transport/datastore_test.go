package transport

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestClusterMadeAnew: a node with the state of a cluster that is no more comes to the replica of one with the same
// node and small resource versions. It gets what differs, forgets the versions, and is then refused where this cluster
// is behind.
func TestClusterMadeAnew(t *testing.T) {
	s := newSite(t)
	address, _ := s.serve(hubtest.Identified(t, "new", 10), ServerOptions{})
	behind, _ := s.serve(hubtest.Identified(t, "new", 9), ServerOptions{})
	gone := &wire.Host{Name: "gone"}
	c := s.client(fixed(address), func(o *ClientOptions) {
		o.Held = map[wire.ID]wire.Object{gone.ID(): gone}
		o.Versions, o.Datastore = map[string]string{calc.KindPod: "900", calc.KindTier: "800"}, "old"
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.connectOnce(ctx, address) }()
	commit := hubtest.Next(t, c)
	if want := map[string]string{calc.KindPod: "10", calc.KindNetworkPolicy: "10"}; commit.Datastore != "new" ||
		!maps.Equal(commit.Versions, want) {
		t.Errorf("the commit is of %q at %v, want %v", commit.Datastore, commit.Versions, want)
	}
	hubtest.Expect(t, commit, []string{"Endpoint/ns/a"}, []string{"Host/gone"})
	cancel()
	<-ended
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.connectOnce(ctx, behind); status.Code(errors.Unwrap(err)) != codes.FailedPrecondition {
		t.Errorf("a replica of the new cluster that is behind: %v", err)
	}
}
