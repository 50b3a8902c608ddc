package memory

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/lifecycle"
)

// Watch implements datastore.Store.
func (s *Store) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	fail := func(sentinel, cause error) (datastore.Watcher, error) {
		return nil, datastore.OpError("watch", kind, datastore.Key{}, sentinel, cause)
	}
	if err := ctx.Err(); err != nil {
		return fail(nil, err)
	}
	seen, err := strconv.ParseUint(revision, 10, 64)
	if err != nil || seen == 0 {
		return fail(datastore.ErrInvalid, fmt.Errorf("%q is not the revision of a list or an event", revision))
	}
	selects, err := lifecycle.Filter(kind, opts)
	if err != nil {
		return fail(datastore.ErrInvalid, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &watcher{store: s, kind: kind, selects: selects, seen: seen, epoch: s.epoch, stopped: make(chan struct{})}
	if err := w.kept(); err != nil {
		return fail(datastore.ErrExpired, err)
	}
	return w, nil
}

// Bookmark tells every watch the newest revision, as the API server does about once a
// minute.
func (s *Store) Bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(record{})
}

// Compact forgets the history. Watches that have read all of it go on; the others end
// with ErrExpired.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = nil
	s.wake()
}

// Disconnect ends every watch that there is with ErrUnavailable, as a lost connection does.
func (s *Store) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.wake()
}

// watcher reads the history at its own pace. The fields below store are guarded by the
// store's mutex, and stopped by stop.
type watcher struct {
	store   *Store
	kind    datastore.Kind
	selects func(datastore.Object) bool
	// seen is the revision of the last record looked at.
	seen    uint64
	epoch   uint64
	stop    sync.Once
	stopped chan struct{}
}

// Next implements datastore.Watcher.
func (w *watcher) Next(ctx context.Context) (datastore.Event, error) {
	for {
		event, ok, changed, err := w.advance()
		if err != nil || ok {
			return event, err
		}
		select {
		case <-ctx.Done():
			return datastore.Event{}, ctx.Err()
		case <-w.stopped:
		case <-changed:
		}
	}
}

// Stop implements datastore.Watcher.
func (w *watcher) Stop() { w.stop.Do(func() { close(w.stopped) }) }

// advance looks at records until one concerns the watch. If none does, changed is
// closed when there are more.
func (w *watcher) advance() (event datastore.Event, ok bool, changed <-chan struct{}, err error) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	fail := func(sentinel, cause error) (datastore.Event, bool, <-chan struct{}, error) {
		return datastore.Event{}, false, nil, datastore.OpError("watch", w.kind, datastore.Key{}, sentinel, cause)
	}
	select {
	case <-w.stopped:
		return fail(nil, context.Canceled)
	default:
	}
	if w.epoch != s.epoch {
		return fail(datastore.ErrUnavailable, nil)
	}
	if err := w.kept(); err != nil {
		return fail(datastore.ErrExpired, err)
	}
	for w.seen < s.revision {
		r := s.history[len(s.history)-int(s.revision-w.seen)]
		w.seen++
		if event, ok := w.event(r); ok {
			event.Revision = format(w.seen)
			return event, true, nil, nil
		}
	}
	return datastore.Event{}, false, s.changed, nil
}

// kept says whether the history still has all that the watch has not seen.
func (w *watcher) kept() error {
	oldest := w.store.revision - uint64(len(w.store.history))
	if w.seen < oldest {
		return fmt.Errorf("revision %d is older than what is kept, from %d on", w.seen, oldest)
	}
	if w.seen > w.store.revision {
		return fmt.Errorf("revision %d is newer than the newest, %d", w.seen, w.store.revision)
	}
	return nil
}

// event is what a record is to this watch.
func (w *watcher) event(r record) (datastore.Event, bool) {
	if r.before == nil && r.after == nil {
		return datastore.Event{Type: datastore.Bookmark}, true
	}
	if r.kind != w.kind {
		return datastore.Event{}, false
	}
	was := r.before != nil && w.selects(r.before)
	is := r.after != nil && w.selects(r.after)
	switch {
	case was && is:
		return datastore.Event{Type: datastore.Modified, Object: r.after}, true
	case is:
		return datastore.Event{Type: datastore.Added, Object: r.after}, true
	case was:
		before := r.before
		if r.after != nil {
			// Not selected any more: the revision is that of the change, as for a deletion.
			before = lifecycle.Clone(before)
			before.SetResourceVersion(r.after.GetResourceVersion())
		}
		return datastore.Event{Type: datastore.Deleted, Object: before}, true
	}
	return datastore.Event{}, false
}
