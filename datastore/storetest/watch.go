package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// next returns the next event that is not a bookmark.
func next(ctx context.Context, t *testing.T, w datastore.Watcher) datastore.Event {
	t.Helper()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != datastore.Bookmark {
			return e
		}
	}
}

func testWatch(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	create(t, s, 1)
	list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := create(t, s, 2) // after the list, before the watch: must not be missed
	w, err := s.Watch(ctx, datastore.IPPools, list.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	p.Spec.NATOutgoing = true
	if _, err := s.Update(ctx, datastore.IPPools, p); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, datastore.IPPools, key(1), datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	revision := list.Revision
	for range 3 {
		e := next(ctx, t, w)
		got = append(got, fmt.Sprintf("%d %s nat=%t", e.Type, e.Object.GetName(),
			e.Object.(*v3.IPPool).Spec.NATOutgoing))
		if e.Revision == revision || e.Revision == "" {
			t.Errorf("event %s does not advance the revision %q", got[len(got)-1], revision)
		}
		revision = e.Revision
	}
	want := []string{
		fmt.Sprintf("%d pool-002 nat=false", datastore.Added),
		fmt.Sprintf("%d pool-002 nat=true", datastore.Modified),
		fmt.Sprintf("%d pool-001 nat=false", datastore.Deleted),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	again, err := s.Watch(ctx, datastore.IPPools, revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	create(t, s, 3)
	if e := next(ctx, t, again); e.Object.GetName() != "pool-003" {
		t.Errorf("a watch from the last event's revision starts with %s", e.Object.GetName())
	}
}

func testExpired(t *testing.T, b Backend) {
	if b.Compact == nil {
		t.Skip("the backend's history can't be shortened from here")
	}
	s := b.New(t)
	ctx := bounded(t)
	list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, 1)
	b.Compact(t, s)
	w, err := s.Watch(ctx, datastore.IPPools, list.Revision, datastore.ListOptions{})
	if err == nil {
		defer w.Stop()
		_, err = w.Next(ctx)
	}
	wantError(t, err, datastore.ErrExpired)
}

func testWatchEnds(t *testing.T, b Backend) {
	s := b.New(t)
	list, err := s.List(bounded(t), datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(bounded(t), datastore.IPPools, list.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	cancel()
	for err = nil; err == nil; {
		_, err = w.Next(ctx)
	}
	wantError(t, err, context.Canceled)
	w.Stop()
	w.Stop()
	for err = nil; err == nil; {
		_, err = w.Next(bounded(t))
	}
}

func testModify(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := bounded(t)
	create(t, s, 1)
	interfered := false
	p, err := datastore.Modify(ctx, s, datastore.IPPools, key(1), func(p *v3.IPPool) error {
		if !interfered {
			interfered = true
			other, err := s.Get(ctx, datastore.IPPools, key(1))
			if err != nil {
				return err
			}
			other.SetLabels(map[string]string{"by": "another"})
			if _, err := s.Update(ctx, datastore.IPPools, other); err != nil {
				return err
			}
		}
		p.Spec.NATOutgoing = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Spec.NATOutgoing || p.Labels["by"] != "another" {
		t.Errorf("one of two changes is lost: %+v", p)
	}
	refused := errors.New("refused")
	_, err = datastore.Modify(ctx, s, datastore.IPPools, key(1), func(*v3.IPPool) error { return refused })
	wantError(t, err, refused)
}

func testRace(t *testing.T, b Backend) {
	s := b.New(t)
	race(t, s, datastore.IPPools, create(t, s, 1))
}

// race has several writers update one revision of an object at once.
func race(t *testing.T, s datastore.Store, kind datastore.Kind, o datastore.Object) {
	t.Helper()
	const writers = 8
	var won atomic.Int32
	group, ctx := errgroup.WithContext(bounded(t))
	for i := range writers {
		group.Go(func() error {
			mine := o.DeepCopyObject().(datastore.Object)
			mine.SetLabels(map[string]string{"writer": fmt.Sprint(i)})
			_, err := s.Update(ctx, kind, mine)
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, datastore.ErrConflict):
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if won.Load() != 1 {
		t.Errorf("%d of %d updates of one revision succeeded, want 1", won.Load(), writers)
	}
}
