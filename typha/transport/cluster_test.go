package transport

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestClusterIsTold: a node knows how many there are in the cluster, and hears of a change that does not concern it,
// without a commit. One without the feature is not told.
func TestClusterIsTold(t *testing.T) {
	h, _ := hubtest.Start(t)
	site := newSite(t)
	address, _ := site.serve(h, ServerOptions{PingInterval: 10 * time.Millisecond})
	hubtest.List(t, h, 10, hubtest.Pod("a", "n1", "web", "10.0.0.1"), hubtest.AllowFrom("db"))
	c := site.client(fixed(address), nil)
	old := site.client(fixed(address), func(o *ClientOptions) { o.Features = wire.AllFeatures &^ wire.FeatureCluster })
	site.run(c)
	site.run(old)
	hubtest.Next(t, c)
	hubtest.Next(t, old)
	knows := func(want wire.Cluster) func() bool {
		return func() bool {
			got, known := c.Cluster()
			return known && got == want
		}
	}
	hubtest.WaitFor(t, "the first counts", knows(wire.Cluster{Policies: 1, Tiers: 1, WorkloadEndpoints: 1}))
	hubtest.Update(t, h, 11, nil, hubtest.Pod("b", "n2", "web", "10.0.0.2"))
	hubtest.WaitFor(t, "a pod elsewhere", knows(wire.Cluster{Policies: 1, Tiers: 1, WorkloadEndpoints: 2}))
	hubtest.Update(t, h, 12, []string{"a", "b"})
	hubtest.Next(t, c) // its own pod is gone
	hubtest.WaitFor(t, "no pod", knows(wire.Cluster{Policies: 1, Tiers: 1}))
	if got, known := old.Cluster(); known {
		t.Errorf("a node that does not understand it was told %+v", got)
	}
	if local, known := h.Cluster(); !known || local != (wire.Cluster{Policies: 1, Tiers: 1}) {
		t.Errorf("the hub has %+v, known: %v", local, known)
	}
}

// TestSyncStates: a stream that breaks is told, and the next one is another resync.
func TestSyncStates(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 10)
	site := newSite(t)
	address, stop := site.serve(h, ServerOptions{})
	var mu sync.Mutex
	var states []SyncState
	told := func() []SyncState {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Clone(states))
	}
	c := site.client(func() string { mu.Lock(); defer mu.Unlock(); return address }, func(o *ClientOptions) {
		o.Syncing = func(s SyncState) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		}
	})
	site.run(c)
	hubtest.Next(t, c)
	hubtest.WaitFor(t, "the first stream", func() bool {
		return slices.Equal(told(),
			[]SyncState{Waiting, Resyncing, InSync})
	})
	stop()
	hubtest.WaitFor(t, "the end of the stream", func() bool { s := told(); return s[len(s)-1] == Waiting })
	again, _ := site.serve(h, ServerOptions{})
	mu.Lock()
	address = again
	mu.Unlock()
	hubtest.Next(t, c) // nothing changed, and yet there is a commit
	want := []SyncState{Waiting, Resyncing, InSync, Waiting, Resyncing, InSync}
	hubtest.WaitFor(t, "the second stream", func() bool { return slices.Equal(told(), want) })
}
