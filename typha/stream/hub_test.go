package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// startHub runs a Hub of pods, policies and other kinds until the test ends, or until stop is called.
func startHub(t *testing.T, others ...string) (h *Hub, stop func()) {
	t.Helper()
	h = NewHub(HubOptions{Kinds: append([]string{calc.KindPod, calc.KindNetworkPolicy}, others...)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Hub.Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return h, stop
}

func pod(name, node, app, ip string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "u", Labels: map[string]string{"app": app}}}
	p.Spec.NodeName = node
	if ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	return p
}

// allowFrom selects app=web and allows in what has the label app=from.
func allowFrom(from string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}}
	p.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": from}}}}}}
	return p
}

// update hands pods, and those that are gone, to the hub.
func update(t *testing.T, h *Hub, revision int, gone []string, upserts ...metav1.Object) {
	t.Helper()
	u := Update{Kind: calc.KindPod, Upserts: upserts, Changed: fmt.Sprint(revision), Seen: fmt.Sprint(revision)}
	for _, name := range gone {
		u.Deletes = append(u.Deletes, Name{"ns", name})
	}
	if err := h.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

// list marks both kinds listed, with these pods and policies.
func list(t *testing.T, h *Hub, revision int, objects ...metav1.Object) {
	t.Helper()
	updates := map[string]*Update{}
	for _, kind := range []string{calc.KindPod, calc.KindNetworkPolicy} {
		updates[kind] = &Update{Kind: kind, Changed: fmt.Sprint(revision), Seen: fmt.Sprint(revision), Listed: true}
	}
	for _, o := range objects {
		kind := calc.KindPod
		if _, ok := o.(*networkingv1.NetworkPolicy); ok {
			kind = calc.KindNetworkPolicy
		}
		updates[kind].Upserts = append(updates[kind].Upserts, o)
	}
	for _, u := range updates {
		if err := h.Update(t.Context(), *u); err != nil {
			t.Fatal(err)
		}
	}
}

// ids gives what a commit holds but for the namespace's profile, in order.
func ids(c wire.Commit) (upserts, deletes []string) {
	profile := wire.ID{Kind: wire.KindPolicy, Name: "profile/kns."}
	for _, o := range c.Upserts {
		if o.ID() != profile {
			upserts = append(upserts, o.ID().String())
		}
	}
	for _, s := range c.Sets {
		upserts = append(upserts, s.ID().String())
	}
	for _, id := range c.Deletes {
		if id != profile {
			deletes = append(deletes, id.String())
		}
	}
	return upserts, deletes
}

func next(t *testing.T, s Source) wire.Commit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// waitFor waits for what other goroutines are to bring about.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func expect(t *testing.T, c wire.Commit, wantUpserts, wantDeletes []string) {
	t.Helper()
	upserts, deletes := ids(c)
	if diff := cmp.Diff(wantUpserts, upserts); diff != "" {
		t.Errorf("upserts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantDeletes, deletes); diff != "" {
		t.Errorf("deletes (-want +got):\n%s", diff)
	}
	if !c.InSync {
		t.Error("the commit is not in sync")
	}
}

// setName is the name of the only IP set in the commit.
func setName(t *testing.T, c wire.Commit) string {
	t.Helper()
	for _, o := range c.Upserts {
		if s, ok := o.(*wire.IPSet); ok {
			return s.Name
		}
	}
	for _, s := range c.Sets {
		return s.Name
	}
	t.Fatal("no IP set in the commit")
	return ""
}

func TestNodeGetsWhatItNeedsInOrder(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 10, pod("a", "n1", "web", "10.0.0.1"), pod("b", "n2", "db", "10.0.0.2"), allowFrom("db"))
	n1, n2 := h.Source("n1"), h.Source("n2")

	first := next(t, n1)
	set := setName(t, first)
	expect(t, first, []string{"IPSet/" + set, "Policy/knp.default/ns/web", "Endpoint/ns/a"}, nil)
	expect(t, next(t, n2), []string{"Endpoint/ns/b"}, nil)
	if first.Versions[calc.KindPod] != "10" {
		t.Errorf("versions are %v", first.Versions)
	}

	update(t, h, 11, []string{"b"})
	expect(t, next(t, n1), []string{"IPSet/" + set}, nil)
	expect(t, next(t, n2), nil, []string{"Endpoint/ns/b"})

	update(t, h, 12, []string{"a"})
	expect(t, next(t, n1), nil, []string{"Endpoint/ns/a", "Policy/knp.default/ns/web", "IPSet/" + set})
}

func TestNothingIsHandedOutBeforeAllKindsAreListed(t *testing.T) {
	h, _ := startHub(t)
	update(t, h, 1, nil, pod("a", "n1", "web", ""))
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
	list(t, h, 2)
	expect(t, next(t, h.Source("n1")), []string{"Endpoint/ns/a"}, nil)
}

func TestSlowReaderGetsOneMergedCommit(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1, pod("a", "n1", "web", ""))
	s := h.Source("n1")
	next(t, s)
	for i := range 1000 {
		update(t, h, 2+3*i, nil, pod("a", "n1", fmt.Sprint("app", i), ""), pod("new", "n1", "web", ""))
		update(t, h, 3+3*i, []string{"new"})
	}
	p := pod("a", "n1", "web", "")
	p.Annotations = map[string]string{"cni.projectcalico.org/ipAddrs": "x"}
	update(t, h, 4000, nil, p)
	// new came and went and is not mentioned; a is there once, in its last form.
	c := next(t, s)
	expect(t, c, []string{"Endpoint/ns/a"}, nil)
	if got := c.Upserts[0].(*wire.Endpoint).Annotations["cni.projectcalico.org/ipAddrs"]; got != "x" {
		t.Errorf("the annotation is %q", got)
	}
}

// TestWhatComesAndGoesLeavesNoMark: what a node that does not read costs does not grow with what comes and goes meanwhile.
func TestWhatComesAndGoesLeavesNoMark(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1, pod("a", "n1", "web", ""))
	s := h.Source("n1")
	next(t, s)
	for i := range 10 {
		name := fmt.Sprint("new", i)
		update(t, h, 2+2*i, nil, pod(name, "n1", "web", ""))
		waitFor(t, "a mark", func() bool { return unread(t, h) == 1 })
		update(t, h, 3+2*i, []string{name})
		waitFor(t, "no mark", func() bool { return unread(t, h) == 0 })
	}
	update(t, h, 50, []string{"a"})
	expect(t, next(t, s), nil, []string{"Endpoint/ns/a"})
}

// unread gives the marks of the one session.
func unread(t *testing.T, h *Hub) int {
	t.Helper()
	all, err := h.Status(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("status: %v, %v", all, err)
	}
	return all[0].Unread
}

func TestBatchOfAnAbandonedCallIsNotLost(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1)
	s := h.Source("n1")
	next(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next with an ended context: %v", err)
	}
	update(t, h, 2, nil, pod("a", "n1", "web", ""))
	update(t, h, 3, nil, pod("b", "n1", "web", ""))
	var all []string
	for len(all) < 2 {
		upserts, _ := ids(next(t, s))
		all = append(all, upserts...)
	}
	slices.Sort(all)
	if diff := cmp.Diff([]string{"Endpoint/ns/a", "Endpoint/ns/b"}, all); diff != "" {
		t.Error(diff)
	}
}

func TestReplicaThatIsBehindIsRefused(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 100)
	_, err := h.Connect(t.Context(), Hello{Node: "n1", Applied: map[string]string{calc.KindPod: "101"}})
	if !errors.Is(err, ErrBehind) {
		t.Errorf("a node that applied 101 was given a session of a hub that saw 100: %v", err)
	}
	// A bookmark changes nothing, but proves that nothing is missing.
	if err := h.Update(t.Context(), Update{Kind: calc.KindPod, Seen: "101"}); err != nil {
		t.Fatal(err)
	}
	s, err := h.Connect(t.Context(), Hello{Node: "n1", Applied: map[string]string{calc.KindPod: "101", "Later": "5"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestSnapshotHoldsWhatWasSeen: a change that waits to be distributed counts as seen; a node that has applied it must not be
// given what was before.
func TestSnapshotHoldsWhatWasSeen(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 100)
	<-h.InSync()
	if err := h.call(t.Context(), func() { h.earliest = time.Now().Add(time.Hour) }); err != nil {
		t.Fatal(err)
	}
	update(t, h, 101, nil, pod("a", "n1", "web", ""))
	s, err := h.Connect(t.Context(), Hello{Node: "n1", Features: wire.AllFeatures.Names(), Applied: map[string]string{calc.KindPod: "101"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := next(t, s)
	expect(t, c, []string{"Endpoint/ns/a"}, nil)
	if c.Versions[calc.KindPod] != "101" {
		t.Errorf("versions %v", c.Versions)
	}
}

// TestNodeHasFewSessions: of too many the oldest ends, and other nodes' stay.
func TestNodeHasFewSessions(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1)
	connect := func(node string) *Session {
		s, err := h.connect(t.Context(), Hello{Node: node}, true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		next(t, s)
		return s
	}
	other := connect("n2")
	var sessions []*Session
	for range maxSessions + 2 {
		sessions = append(sessions, connect("n1"))
	}
	for i, s := range append(sessions, other) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if i >= 2 {
			cancel() // it waits for a change
		}
		want := []error{ErrReplaced, context.Canceled}[min(i/2, 1)]
		if _, err := s.Next(ctx); !errors.Is(err, want) {
			t.Errorf("session %d: %v, want %v", i, err, want)
		}
		cancel()
	}
}

func TestSessionMayBeClosedTwice(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1)
	former, err := h.Connect(t.Context(), Hello{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	former.Close()
	s, err := h.Connect(t.Context(), Hello{Node: "n1", Features: wire.AllFeatures.Names()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	former.Close()
	next(t, s)
	update(t, h, 2, nil, pod("a", "n1", "web", ""))
	expect(t, next(t, s), []string{"Endpoint/ns/a"}, nil)
}

func TestSourcesEndWithTheHub(t *testing.T) {
	h, stop := startHub(t)
	list(t, h, 1)
	s := h.Source("n1")
	next(t, s)
	stop()
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Next after the hub ended: %v", err)
	}
	s.Report(wire.Report{Applied: 1})
}

func TestReportsAreCollected(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1)
	s := h.Source("n1")
	next(t, s)
	want := wire.Report{Applied: 1, Errors: []string{"add route 10.0.0.0/26: no such device"}, Notices: []string{"kube-proxy is in IPVS mode"}}
	s.Report(want)
	got, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Node != "n1" || got[0].Applied != 1 || got[0].Commit != 1 || !slices.Equal(got[0].Errors, want.Errors) || !slices.Equal(got[0].Notices, want.Notices) {
		t.Errorf("the status is %+v", got)
	}
}
