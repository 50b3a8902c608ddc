package sync

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/typha/hub"
)

// everything is a Sink that remembers names, by what happened to them.
type everything struct{ recorder }

func (e *everything) Update(_ context.Context, u hub.Update) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.updates = append(e.updates, u)
	return nil
}

// names returns what came since the last call, sorted: "+name" for an upsert, "-name" for a deletion.
func (e *everything) names() (names []string) {
	for _, u := range e.take() {
		for _, o := range u.Upserts {
			names = append(names, "+"+o.GetName())
		}
		for _, n := range u.Deletes {
			names = append(names, "-"+n.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestNotReady: nothing but the ClusterInformation is handed on while that says datastoreReady: false, be it so at the
// start or later; then everything that happened meanwhile is. Without a ClusterInformation the datastore is ready.
func TestNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		create := func(kind datastore.Kind, o datastore.Object) {
			t.Helper()
			if _, err := store.Create(t.Context(), kind, o); err != nil {
				t.Fatal(err)
			}
		}
		remove := func(kind datastore.Kind, name string) {
			t.Helper()
			if err := store.Delete(t.Context(), kind, datastore.Key{Name: name},
				datastore.Preconditions{}); err != nil {
				t.Fatal(err)
			}
		}
		ready := func(yes bool) {
			t.Helper()
			_, err := datastore.Modify(t.Context(), store, datastore.ClusterInformations,
				datastore.Key{Name: "default"},
				func(o *v3.ClusterInformation) error { o.Spec.DatastoreReady = &yes; return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		sink := &everything{}
		came := func(want ...string) {
			t.Helper()
			time.Sleep(time.Minute) // of the bubble's clock
			synctest.Wait()
			if got := sink.names(); !slices.Equal(got, want) {
				t.Errorf("handed on: %v, want %v", got, want)
			}
		}
		no := false
		create(datastore.ClusterInformations, &v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: "default"},
			Spec: v3.ClusterInformationSpec{DatastoreReady: &no}})
		create(datastore.Namespaces, namespace("before"))
		view := NewView([]datastore.Kind{datastore.Namespaces, datastore.ClusterInformations})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = view.Run(ctx, store, sink, slog.New(slog.DiscardHandler)); close(done) }()
		came("+default")
		ready(true)
		came("+before", "+default")
		create(datastore.Namespaces, namespace("control"))
		came("+control")
		ready(false)
		came("+default")
		create(datastore.Namespaces, namespace("meanwhile"))
		remove(datastore.Namespaces, "before")
		came()
		remove(datastore.ClusterInformations, "default")
		came("+meanwhile", "-before", "-default")
		cancel()
		<-done
	})
}
