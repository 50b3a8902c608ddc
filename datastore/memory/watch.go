package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/maneki-net/maneki/datastore"
)

// errStopped is what Next returns after Stop.
var errStopped = errors.New("watch stopped")

// Watch implements datastore.Store. An object that comes to match the options, or ceases to,
// is Added or Deleted.
func (s *Store) Watch(ctx context.Context, kind datastore.Kind, revision string, opts datastore.ListOptions) (datastore.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind.Plural, err)
	}
	match, err := matcher(kind, opts)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind.Plural, err)
	}
	from, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w: revision %q is not one that a List gave", kind.Plural, datastore.ErrInvalid, revision)
	}
	return &watcher{store: s, kind: kind, match: match, seen: from, stopped: make(chan struct{})}, nil
}

type watcher struct {
	store *Store
	kind  datastore.Kind
	match func(datastore.Object) bool
	// seen is the revision up to which changes were delivered or passed over; one caller
	// at a time is in Next.
	seen    uint64
	stop    sync.Once
	stopped chan struct{}
}

// Stop implements datastore.Watcher.
func (w *watcher) Stop() { w.stop.Do(func() { close(w.stopped) }) }

// Next implements datastore.Watcher.
func (w *watcher) Next(ctx context.Context) (datastore.Event, error) {
	for {
		select {
		case <-w.stopped:
			return datastore.Event{}, fmt.Errorf("watch %s: %w", w.kind.Plural, errStopped)
		default:
		}
		event, wake, err := w.poll()
		if err != nil {
			return datastore.Event{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
		}
		if wake == nil {
			return event, nil
		}
		select {
		case <-wake:
		case <-w.stopped:
		case <-ctx.Done():
			return datastore.Event{}, fmt.Errorf("watch %s: %w", w.kind.Plural, ctx.Err())
		}
	}
}

// poll gives the next event, or the channel that is closed at the next change.
func (w *watcher) poll() (datastore.Event, <-chan struct{}, error) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.seen < s.compacted {
		return datastore.Event{}, nil, fmt.Errorf("revision %d: %w", w.seen, datastore.ErrExpired)
	}
	first, _ := slices.BinarySearchFunc(s.history, w.seen+1, func(c change, r uint64) int { return int(c.revision) - int(r) })
	for _, c := range s.history[first:] {
		w.seen = c.revision
		if c.kind != w.kind {
			continue
		}
		now := c.event != datastore.Deleted && w.match(c.object)
		before := c.previous != nil && w.match(c.previous)
		event := datastore.Event{Object: copyOf(c.object), Revision: formatRevision(c.revision)}
		switch {
		case now && before:
			event.Type = datastore.Modified
		case now:
			event.Type = datastore.Added
		case before:
			event.Type = datastore.Deleted
		default:
			continue
		}
		return event, nil, nil
	}
	return datastore.Event{}, s.wake, nil
}
