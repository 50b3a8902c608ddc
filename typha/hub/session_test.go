package hub_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
)

// TestNodeThatDoesNotReadIsDropped: after the grace period, a node that leaves changes unread for too long loses its
// session; one that reads keeps it.
func TestNodeThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		h := hub.New(hub.Options{Kinds: []string{calc.KindPod}, MaxFallBehind: time.Minute,
			GracePeriod: 210 * time.Second, Metrics: hub.NewMetrics(registry)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		if err := h.Update(t.Context(), hub.Update{Kind: calc.KindPod, Listed: true}); err != nil {
			t.Fatal(err)
		}
		connect := func() *hub.Session {
			s, err := h.ConnectRemote(t.Context(), hub.Hello{Node: "n1"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			return s
		}
		idle, reader := connect(), connect()
		is := func(s *hub.Session) bool {
			synctest.Wait()
			select {
			case <-s.Ended():
				return true
			default:
				return false
			}
		}
		for minute := range 5 {
			hubtest.Update(t, h, minute+2, nil, hubtest.Pod(fmt.Sprint("p", minute), "n1", "web", ""))
			synctest.Wait()
			if _, err := reader.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if got, want := is(idle), minute >= 3; got != want {
				t.Errorf("after %d minutes: dropped %v, want %v", minute+1, got, want)
			}
			if n := metrictest.Value(t, registry, "typha_nodes_unread"); n != 1 {
				t.Errorf("after %d minutes: %v nodes do not read", minute+1, n)
			}
		}
		if is(reader) {
			t.Error("the node that reads was dropped")
		}
		if grace := metrictest.Value(t, registry, "typha_connections_grace_used"); grace != 1 {
			t.Errorf("%v sessions used the grace period", grace)
		}
		cancel()
		<-ended
	})
}

// TestChangeWakesWhomItConcerns counts the commits that are cut.
func TestChangeWakesWhomItConcerns(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := hub.New(hub.Options{Kinds: []string{calc.KindPod, calc.KindNetworkPolicy}, Metrics: hub.NewMetrics(registry)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	hubtest.List(t, h, 1)
	const nodes = 500
	commits := make(chan string, nodes)
	for i := range nodes {
		name := fmt.Sprint("n", i)
		s := h.Source(name)
		hubtest.Next(t, s)
		go func() {
			for {
				if _, err := s.Next(ctx); err != nil {
					return
				}
				commits <- name
			}
		}()
	}
	for i := range 20 {
		hubtest.Update(t, h, i+2, nil, hubtest.Pod(fmt.Sprint("p", i), "n7", "web", ""))
		if name := <-commits; name != "n7" {
			t.Errorf("%s was woken", name)
		}
	}
	if blocked := metrictest.Value(t, registry, "typha_breadcrumb_block") +
		metrictest.Value(t, registry, "typha_breadcrumb_non_block"); blocked > nodes+20 {
		t.Errorf("%v commits were cut", blocked)
	}
}
