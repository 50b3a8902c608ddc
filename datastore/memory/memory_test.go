package memory_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/datastore/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New:     func(*testing.T) datastore.Store { return memory.New() },
		Compact: func(_ *testing.T, s datastore.Store) { s.(*memory.Store).Compact() },
	})
}

func block(name string) *v3.IPAMBlock {
	return &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func mustCreate(t *testing.T, s datastore.Store, name string) {
	t.Helper()
	if _, err := s.Create(t.Context(), datastore.IPAMBlocks, block(name)); err != nil {
		t.Fatal(err)
	}
}

func watch(t *testing.T, s datastore.Store) datastore.Watcher {
	t.Helper()
	list, err := s.List(t.Context(), datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(t.Context(), datastore.IPAMBlocks, list.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

func TestHistoryIsBounded(t *testing.T) {
	s := memory.New(memory.WithHistory(2))
	fast, slow := watch(t, s), watch(t, s)
	for _, name := range []string{"a", "b", "c"} {
		mustCreate(t, s, name)
		if e, err := fast.Next(t.Context()); err != nil || e.Object.GetName() != name {
			t.Fatalf("a reader that keeps up got %v, %v, want %s", e, err, name)
		}
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, datastore.ErrExpired) {
		t.Errorf("a reader three changes behind got %v, want ErrExpired", err)
	}
}

func TestBookmark(t *testing.T) {
	s := memory.New()
	w := watch(t, s)
	if _, err := s.Create(t.Context(), datastore.IPPools,
		&v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}}); err != nil {
		t.Fatal(err)
	}
	s.Bookmark()
	e, err := w.Next(t.Context())
	if err != nil || e.Type != datastore.Bookmark || e.Object != nil {
		t.Fatalf("got %+v, %v, want a bookmark", e, err)
	}
	s.Compact()
	if _, err := s.Watch(t.Context(), datastore.IPAMBlocks, e.Revision, datastore.ListOptions{}); err != nil {
		t.Errorf("watch from the bookmark's revision: %v", err)
	}
}

func TestDisconnect(t *testing.T) {
	s := memory.New()
	w := watch(t, s)
	s.Disconnect()
	if _, err := w.Next(t.Context()); !errors.Is(err, datastore.ErrUnavailable) {
		t.Errorf("a disconnected watch ends with %v, want ErrUnavailable", err)
	}
	mustCreate(t, s, "a")
	if e, err := watch(t, s).Next(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("a new watch gives %v, %v, want to wait", e, err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestPodKeepsStatus(t *testing.T) {
	s := memory.New()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p"},
		Status:     corev1.PodStatus{PodIP: "10.0.0.1"},
	}
	o, err := s.Create(t.Context(), datastore.Pods, pod)
	if err != nil || o.(*corev1.Pod).Status.PodIP != "10.0.0.1" {
		t.Errorf("created %+v, %v", o, err)
	}
}
