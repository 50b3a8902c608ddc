// Package hubtest has what tests of a Hub and of what is built on it have in common: a running Hub, resources to hand
// to it, and checks of the commits that it hands out.
//
// It is imported by tests only. All errors end or fail the test.
package hubtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// Start runs a Hub of pods, policies and other kinds until the test ends, or until stop is called.
func Start(t *testing.T, others ...string) (h *hub.Hub, stop func()) {
	t.Helper()
	h = hub.New(hub.Options{Kinds: append([]string{calc.KindPod, calc.KindNetworkPolicy}, others...)})
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

// Pod returns a pod of namespace ns with the label app, and an address unless ip is empty.
func Pod(name, node, app, ip string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, UID: "u", Labels: map[string]string{"app": app}}}
	p.Spec.NodeName = node
	if ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	return p
}

// AllowFrom returns a policy that selects app=web and allows traffic from pods with the label app=from.
func AllowFrom(from string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}}
	p.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": from}}}}}}
	return p
}

// Update hands pods to the Hub, and the names of pods that are gone.
func Update(t *testing.T, h *hub.Hub, revision int, gone []string, upserts ...metav1.Object) {
	t.Helper()
	u := hub.Update{Kind: calc.KindPod, Upserts: upserts, Changed: fmt.Sprint(revision), Seen: fmt.Sprint(revision)}
	for _, name := range gone {
		u.Deletes = append(u.Deletes, hub.Name{Namespace: "ns", Name: name})
	}
	if err := h.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

// List marks pods and policies as listed, with these objects.
func List(t *testing.T, h *hub.Hub, revision int, objects ...metav1.Object) {
	t.Helper()
	updates := map[string]*hub.Update{}
	for _, kind := range []string{calc.KindPod, calc.KindNetworkPolicy} {
		updates[kind] = &hub.Update{Kind: kind, Changed: fmt.Sprint(revision), Seen: fmt.Sprint(revision), Listed: true}
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

// IDs returns the IDs in a commit except that of the namespace's profile, in order.
func IDs(c wire.Commit) (upserts, deletes []string) {
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

// Next returns the next commit.
func Next(t *testing.T, s hub.Source) wire.Commit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// WaitFor waits until a condition is true that other goroutines bring about.
func WaitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out while waiting for %s", what)
		}
	}
}

// Expect checks the IDs in a commit.
func Expect(t *testing.T, c wire.Commit, wantUpserts, wantDeletes []string) {
	t.Helper()
	upserts, deletes := IDs(c)
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

// SetName returns the name of the only IP set in a commit.
func SetName(t *testing.T, c wire.Commit) string {
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

// Identified runs a Hub that has seen a datastore up to a revision, and knows its identity.
func Identified(t *testing.T, datastore string, revision int) *hub.Hub {
	t.Helper()
	h, _ := Start(t)
	List(t, h, revision, Pod("a", "n1", "web", "10.0.0.1"))
	if err := h.Update(t.Context(), hub.Update{Kind: calc.KindPod, Datastore: datastore}); err != nil {
		t.Fatal(err)
	}
	return h
}
