package sync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

// remote is a store that may answer nothing, refuse to be probed for tiers, or be without one kind.
type remote struct {
	*memory.Store
	silent  atomic.Bool
	refuse  atomic.Bool
	without atomic.Value // string: the ID of a kind
	probed  atomic.Int32 // lists of tiers
}

func (r *remote) err(kind datastore.Kind) error {
	switch {
	case r.silent.Load(), r.without.Load() == kind.ID():
		return datastore.ErrUnavailable
	case r.refuse.Load() && kind == probed:
		return errors.New("forbidden")
	}
	return nil
}

func (r *remote) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	if kind == probed {
		r.probed.Add(1)
	}
	if err := r.err(kind); err != nil {
		return datastore.List{}, err
	}
	return r.Store.List(ctx, kind, opts)
}

func (r *remote) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	if err := r.err(kind); err != nil {
		return nil, err
	}
	return r.Store.Watch(ctx, kind, revision, opts)
}

// viewing runs a View of namespaces and tiers in a bubble, and gives what it logs.
func viewing(t *testing.T, store *remote) (*View, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	v := NewView([]datastore.Kind{datastore.Namespaces, datastore.Tiers})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx, store, &recorder{}, slog.New(slog.NewTextHandler(&log, nil))) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return v, &log
}

// loggedOnce checks that something became old, and was up to date again, once.
func loggedOnce(t *testing.T, log fmt.Stringer) {
	t.Helper()
	if text := log.String(); strings.Count(text, "may be old") != 1 || strings.Count(text, "up to date again") != 1 {
		t.Errorf("the log is\n%s", text)
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// within checks that every kind is behind by no less and no more.
func within(t *testing.T, when string, v *View, least, most time.Duration) {
	t.Helper()
	for kind, d := range v.Behind() {
		if d < least || d > most {
			t.Errorf("%s: %s is %s behind, want %s to %s", when, kind, d, least, most)
		}
	}
}

// TestViewOfAQuietDatastoreIsFresh: nothing happens for an hour, and there is not even a bookmark; then the datastore
// goes silent, with the watches open, and comes back. What is logged is logged once.
func TestViewOfAQuietDatastoreIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &remote{Store: memory.New()}
		v, log := viewing(t, store)
		for range 60 {
			pass(time.Minute)
			within(t, "quiet", v, 0, time.Minute)
		}
		if d := v.Silence(); d > 30*time.Second {
			t.Errorf("the datastore was last heard of %s ago", d)
		}
		store.silent.Store(true)
		pass(time.Hour)
		within(t, "silent, with the watches open", v, 59*time.Minute, 61*time.Minute)
		if d := v.Silence(); d < 59*time.Minute {
			t.Errorf("the datastore was heard of %s ago, and has been silent for an hour", d)
		}
		store.silent.Store(false)
		pass(time.Minute)
		within(t, "back", v, 0, time.Minute)
		loggedOnce(t, log)
	})
}

// TestViewWithoutWatches: they end, and only what is watched or listed again is fresh.
func TestViewWithoutWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &remote{Store: memory.New()}
		v, log := viewing(t, store)
		pass(time.Minute)
		store.without.Store(datastore.Namespaces.ID())
		store.Disconnect()
		pass(10 * time.Minute)
		kinds, longest := Stale(v.Behind())
		if len(kinds) != 1 || kinds[0] != "Namespace" || longest < 10*time.Minute || longest > 11*time.Minute {
			t.Errorf("behind are %v, by %s", kinds, longest)
		}
		if d := v.Silence(); d > time.Minute {
			t.Errorf("one kind cannot be watched, and the datastore counts as silent for %s", d)
		}
		store.without.Store("")
		pass(time.Minute)
		within(t, "watched again", v, 0, time.Minute)
		loggedOnce(t, log)
	})
}

// TestViewDoesNotAskWhoSpeaks: bookmarks are enough, and so is an answer that refuses.
func TestViewDoesNotAskWhoSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &remote{Store: memory.New()}
		v, _ := viewing(t, store)
		pass(time.Minute)
		before := store.probed.Load()
		for range 60 {
			pass(10 * time.Second)
			store.Bookmark()
		}
		if n := store.probed.Load() - before; n > 1 {
			t.Errorf("probed %d times while bookmarks came", n)
		}
		store.refuse.Store(true)
		before = store.probed.Load()
		pass(10 * time.Minute)
		if n := store.probed.Load() - before; n < 25 || n > 35 {
			t.Errorf("probed %d times in 10 minutes", n)
		}
		within(t, "refused", v, 0, time.Minute)
	})
}

// TestBehindIsAMetric with a value for each kind.
func TestBehindIsAMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewView([]datastore.Kind{datastore.Namespaces, datastore.Tiers})
		registry := prometheus.NewRegistry()
		registry.MustRegister(v)
		time.Sleep(90 * time.Second)
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "typha_datastore_behind_seconds" ||
			len(families[0].Metric) != 2 {
			t.Fatalf("got %v, %v", families, err)
		}
		for _, m := range families[0].Metric {
			if m.GetGauge().GetValue() != 90 {
				t.Errorf("got %v, want 90", m)
			}
		}
	})
}

// refusing is a store that is listed and of which no watch lasts.
type refusing struct {
	*memory.Store
	refuse atomic.Bool
	lists  atomic.Int32
}

func (r *refusing) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	r.lists.Add(1)
	return r.Store.List(ctx, kind, opts)
}

func (r *refusing) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	if r.refuse.Load() {
		return nil, datastore.ErrExpired
	}
	return r.Store.Watch(ctx, kind, revision, opts)
}

// TestListsArePaced where the watch after each is refused; a revision that expires after a watch lasted is no reason to
// wait.
func TestListsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sink := &refusing{Store: memory.New()}, &recorder{}
		store.refuse.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		l := loop{store: store, sink: sink, kind: datastore.Namespaces, log: slog.New(slog.DiscardHandler),
			known: map[datastore.Key]struct{}{}}
		go func() { ended <- l.run(ctx) }()
		pass(time.Second)
		if n := store.lists.Load(); n < 2 {
			t.Errorf("%d lists in the first second: one refusal need not be the next", n)
		}
		pass(10 * time.Minute)
		if n := store.lists.Load(); n < 15 || n > 45 {
			t.Errorf("%d lists in 10 minutes", n)
		}
		store.refuse.Store(false)
		pass(time.Minute)
		for range 3 {
			before := store.lists.Load()
			store.Disconnect()
			if _, err := store.Create(t.Context(), datastore.Namespaces,
				namespace("n"+time.Now().Format("150405"))); err != nil {
				t.Fatal(err)
			}
			store.Compact()
			pass(time.Second)
			if n := store.lists.Load() - before; n != 1 {
				t.Errorf("%d lists in the second after a revision expired", n)
			}
			pass(time.Minute)
		}
		cancel()
		<-ended
	})
}
