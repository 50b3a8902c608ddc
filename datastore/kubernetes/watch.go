package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/maneki-net/maneki/datastore"
)

// Watch implements datastore.Store. The context bounds the start of the watch, and Stop ends it.
func (s *Store) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	if revision == "" || revision == "0" {
		return nil, datastore.OpError("watch", kind, datastore.Key{}, datastore.ErrInvalid,
			fmt.Errorf("%q is not the revision of a list or an event", revision))
	}
	connection, cancel := context.WithCancel(context.WithoutCancel(ctx))
	connecting := context.AfterFunc(ctx, cancel)
	stream, err := s.request(kind, opts, metav1.ListOptions{
		Watch: true, ResourceVersion: revision, AllowWatchBookmarks: true, FieldSelector: opts.Field,
	}).Watch(connection)
	if !connecting() && err == nil {
		stream.Stop()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, opError(ctx, "watch", kind, datastore.Key{}, err)
	}
	return &watcher{kind: kind, stream: stream, cancel: cancel, stopped: make(chan struct{})}, nil
}

// watcher turns client-go's events into ours. One caller at a time is in Next.
type watcher struct {
	kind    datastore.Kind
	stream  watch.Interface
	cancel  context.CancelFunc
	stop    sync.Once
	stopped chan struct{} // closed by Stop
}

// Stop implements datastore.Watcher.
func (w *watcher) Stop() {
	w.stop.Do(func() {
		close(w.stopped)
		w.stream.Stop()
		w.cancel()
	})
}

// Next implements datastore.Watcher.
func (w *watcher) Next(ctx context.Context) (datastore.Event, error) {
	// A select of several ready cases takes any of them, and after Stop there are no events.
	select {
	case <-w.stopped:
		return datastore.Event{}, w.fail(nil, context.Canceled)
	default:
	}
	select {
	case <-ctx.Done():
		return datastore.Event{}, w.fail(nil, ctx.Err())
	case <-w.stopped:
		return datastore.Event{}, w.fail(nil, context.Canceled)
	case e, ok := <-w.stream.ResultChan():
		if !ok {
			return datastore.Event{}, w.fail(datastore.ErrUnavailable, errors.New("the server closed the watch"))
		}
		return w.event(e)
	}
}

func (w *watcher) event(e watch.Event) (datastore.Event, error) {
	if e.Type == watch.Error {
		err := apierrors.FromObject(e.Object)
		s := sentinel(err)
		if s == nil {
			s = datastore.ErrUnavailable // among them: a frame cut off by a lost connection
		}
		return datastore.Event{}, w.fail(s, err)
	}
	object := received(w.kind, e.Object)
	event := datastore.Event{Object: object, Revision: object.GetResourceVersion()}
	switch e.Type {
	case watch.Added:
		event.Type = datastore.Added
	case watch.Modified:
		event.Type = datastore.Modified
	case watch.Deleted:
		event.Type = datastore.Deleted
	case watch.Bookmark:
		event.Type, event.Object = datastore.Bookmark, nil
	default:
		return datastore.Event{}, w.fail(datastore.ErrUnavailable, fmt.Errorf("unknown event %q", e.Type))
	}
	if u, ok := e.Object.(*unusable); ok && event.Type != datastore.Deleted {
		event.Type, event.Err = datastore.Deleted, u.err
	}
	return event, nil
}

func (w *watcher) fail(sentinel, cause error) error {
	return datastore.OpError("watch", w.kind, datastore.Key{}, sentinel, cause)
}
