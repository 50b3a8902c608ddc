package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

func TestNodeGetsWhatItNeedsInOrder(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 10, hubtest.Pod("a", "n1", "web", "10.0.0.1"), hubtest.Pod("b", "n2", "db", "10.0.0.2"),
		hubtest.AllowFrom("db"))
	n1, n2 := h.Source("n1"), h.Source("n2")

	first := hubtest.Next(t, n1)
	set := hubtest.SetName(t, first)
	hubtest.Expect(t, first, []string{"IPSet/" + set, "Policy/knp.default/ns/web", "Endpoint/ns/a"}, nil)
	hubtest.Expect(t, hubtest.Next(t, n2), []string{"Endpoint/ns/b"}, nil)
	if first.Versions[calc.KindPod] != "10" {
		t.Errorf("versions are %v", first.Versions)
	}

	hubtest.Update(t, h, 11, []string{"b"})
	hubtest.Expect(t, hubtest.Next(t, n1), []string{"IPSet/" + set}, nil)
	hubtest.Expect(t, hubtest.Next(t, n2), nil, []string{"Endpoint/ns/b"})

	hubtest.Update(t, h, 12, []string{"a"})
	hubtest.Expect(t, hubtest.Next(t, n1), nil, []string{"Endpoint/ns/a", "Policy/knp.default/ns/web", "IPSet/" + set})
}

func TestNothingIsHandedOutBeforeAllKindsAreListed(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.Update(t, h, 1, nil, hubtest.Pod("a", "n1", "web", ""))
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { _, err := h.Source("n1").Next(ctx); got <- err }()
	if _, err := h.Status(t.Context()); err != nil { // the hub has gone through its loop
		t.Fatal(err)
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("Next gave %v before the hub was in sync", err)
	}
	hubtest.List(t, h, 2)
	hubtest.Expect(t, hubtest.Next(t, h.Source("n1")), []string{"Endpoint/ns/a"}, nil)
}

func TestSlowReaderGetsOneMergedCommit(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", ""))
	s := h.Source("n1")
	hubtest.Next(t, s)
	for i := range 1000 {
		hubtest.Update(t, h, 2+3*i, nil, hubtest.Pod("a", "n1", fmt.Sprint("app", i), ""),
			hubtest.Pod("new", "n1", "web", ""))
		hubtest.Update(t, h, 3+3*i, []string{"new"})
	}
	p := hubtest.Pod("a", "n1", "web", "")
	p.Annotations = map[string]string{"cni.projectcalico.org/ipAddrs": "x"}
	hubtest.Update(t, h, 4000, nil, p)
	// new came and went and is not mentioned; a is there once, in its last form.
	c := hubtest.Next(t, s)
	hubtest.Expect(t, c, []string{"Endpoint/ns/a"}, nil)
	if got := c.Upserts[0].(*wire.Endpoint).Annotations["cni.projectcalico.org/ipAddrs"]; got != "x" {
		t.Errorf("the annotation is %q", got)
	}
}

// TestWhatComesAndGoesLeavesNoMark: what a node that does not read costs does not grow with what comes and goes
// meanwhile.
func TestWhatComesAndGoesLeavesNoMark(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1, hubtest.Pod("a", "n1", "web", ""))
	s := h.Source("n1")
	hubtest.Next(t, s)
	for i := range 10 {
		name := fmt.Sprint("new", i)
		hubtest.Update(t, h, 2+2*i, nil, hubtest.Pod(name, "n1", "web", ""))
		hubtest.WaitFor(t, "a mark", func() bool { return unread(t, h) == 1 })
		hubtest.Update(t, h, 3+2*i, []string{name})
		hubtest.WaitFor(t, "no mark", func() bool { return unread(t, h) == 0 })
	}
	hubtest.Update(t, h, 50, []string{"a"})
	hubtest.Expect(t, hubtest.Next(t, s), nil, []string{"Endpoint/ns/a"})
}

// unread gives the marks of the one session.
func unread(t *testing.T, h *hub.Hub) int {
	t.Helper()
	all, err := h.Status(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("status: %v, %v", all, err)
	}
	return all[0].Unread
}

func TestBatchOfAnAbandonedCallIsNotLost(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := h.Source("n1")
	hubtest.Next(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next with an ended context: %v", err)
	}
	hubtest.Update(t, h, 2, nil, hubtest.Pod("a", "n1", "web", ""))
	hubtest.Update(t, h, 3, nil, hubtest.Pod("b", "n1", "web", ""))
	var all []string
	for len(all) < 2 {
		upserts, _ := hubtest.IDs(hubtest.Next(t, s))
		all = append(all, upserts...)
	}
	slices.Sort(all)
	if diff := cmp.Diff([]string{"Endpoint/ns/a", "Endpoint/ns/b"}, all); diff != "" {
		t.Error(diff)
	}
}

func TestReplicaThatIsBehindIsRefused(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 100)
	_, err := h.Connect(t.Context(), hub.Hello{Node: "n1", Applied: map[string]string{calc.KindPod: "101"}})
	if !errors.Is(err, hub.ErrBehind) {
		t.Errorf("a node that applied 101 was given a session of a hub that saw 100: %v", err)
	}
	// A bookmark changes nothing, but proves that nothing is missing.
	if err := h.Update(t.Context(), hub.Update{Kind: calc.KindPod, Seen: "101"}); err != nil {
		t.Fatal(err)
	}
	s, err := h.Connect(t.Context(), hub.Hello{Node: "n1", Applied: map[string]string{calc.KindPod: "101",
		"Later": "5"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestSnapshotHoldsWhatWasSeen: a change that waits to be distributed counts as seen; a node that has applied it must
// not be given what was before.
func TestSnapshotHoldsWhatWasSeen(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 100)
	<-h.InSync()
	if err := h.DelayFlush(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	hubtest.Update(t, h, 101, nil, hubtest.Pod("a", "n1", "web", ""))
	s, err := h.Connect(t.Context(), hub.Hello{Node: "n1", Features: wire.AllFeatures.Names(),
		Applied: map[string]string{calc.KindPod: "101"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := hubtest.Next(t, s)
	hubtest.Expect(t, c, []string{"Endpoint/ns/a"}, nil)
	if c.Versions[calc.KindPod] != "101" {
		t.Errorf("versions %v", c.Versions)
	}
}

// TestNodeHasFewSessions: of too many the oldest ends, and other nodes' stay.
func TestNodeHasFewSessions(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	connect := func(node string) *hub.Session {
		s, err := h.ConnectRemote(t.Context(), hub.Hello{Node: node})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		hubtest.Next(t, s)
		return s
	}
	other := connect("n2")
	var sessions []*hub.Session
	for range hub.MaxSessions + 2 {
		sessions = append(sessions, connect("n1"))
	}
	for i, s := range append(sessions, other) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if i >= 2 {
			cancel() // it waits for a change
		}
		want := []error{hub.ErrReplaced, context.Canceled}[min(i/2, 1)]
		if _, err := s.Next(ctx); !errors.Is(err, want) {
			t.Errorf("session %d: %v, want %v", i, err, want)
		}
		cancel()
	}
}

func TestSessionMayBeClosedTwice(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	former, err := h.Connect(t.Context(), hub.Hello{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	former.Close()
	s, err := h.Connect(t.Context(), hub.Hello{Node: "n1", Features: wire.AllFeatures.Names()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	former.Close()
	hubtest.Next(t, s)
	hubtest.Update(t, h, 2, nil, hubtest.Pod("a", "n1", "web", ""))
	hubtest.Expect(t, hubtest.Next(t, s), []string{"Endpoint/ns/a"}, nil)
}

func TestSourcesEndWithTheHub(t *testing.T) {
	h, stop := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := h.Source("n1")
	hubtest.Next(t, s)
	stop()
	if _, err := s.Next(t.Context()); !errors.Is(err, hub.ErrClosed) {
		t.Errorf("Next after the hub ended: %v", err)
	}
	s.Report(wire.Report{Applied: 1})
}

func TestReportsAreCollected(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s := h.Source("n1")
	hubtest.Next(t, s)
	want := wire.Report{Applied: 1, Errors: []string{"add route 10.0.0.0/26: no such device"},
		Notices: []string{"kube-proxy is in IPVS mode"}}
	s.Report(want)
	got, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Node != "n1" || got[0].Applied != 1 || got[0].Commit != 1 ||
		!slices.Equal(got[0].Errors, want.Errors) || !slices.Equal(got[0].Notices, want.Notices) {
		t.Errorf("the status is %+v", got)
	}
}
