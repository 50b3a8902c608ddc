package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/maneki-net/maneki/datastore"
)

// progressEvery is how often a watch without changes asks how far it is, so that it starts again at a revision that is
// still kept.
const progressEvery = time.Minute

// watcher turns etcd's events into ours. One caller at a time is in Next; the fields from changes on are its own.
type watcher struct {
	store   *Store
	kind    datastore.Kind
	folder  string
	selects func(datastore.Object) bool
	// connection ends with Stop.
	connection context.Context
	stop       context.CancelFunc
	// heard says that something came since askProgress last looked.
	heard  atomic.Bool
	silent chan struct{} // depth 1; written by askProgress, read by Next
	asking sync.Once

	changes clientv3.WatchChan
	// leave ends changes.
	leave context.CancelFunc
	// seen is the revision up to which everything is in pending or handed on.
	seen    int64
	pending []datastore.Event
	// failures counts the starts since something came.
	failures int
}

// Watch implements datastore.Store. A lost connection, a new leader, and a token that has run out are not seen by the
// reader: the watch goes on where it was.
func (s *Store) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	const operation = "watch"
	seen, err := strconv.ParseInt(revision, 10, 64)
	if err != nil || seen <= 0 {
		return nil, datastore.OpError(operation, kind, datastore.Key{}, datastore.ErrInvalid,
			fmt.Errorf("%q is not the revision of a list or an event", revision))
	}
	selects, err := filter(kind, opts)
	if err != nil {
		return nil, datastore.OpError(operation, kind, datastore.Key{}, datastore.ErrInvalid, err)
	}
	w := &watcher{store: s, kind: kind, folder: folder(kind, opts.Namespace), selects: selects, seen: seen,
		leave:  func() {},
		silent: make(chan struct{}, 1)}
	// A member that lost the others tells nothing new: then it is to end the watch.
	w.connection, w.stop = context.WithCancel(clientv3.WithRequireLeader(context.WithoutCancel(ctx)))
	if err := w.start(ctx); err != nil {
		w.stop()
		return nil, s.opError(ctx, operation, kind, datastore.Key{}, err)
	}
	return w, nil
}

// start opens the watch after the revision seen.
func (w *watcher) start(ctx context.Context) error {
	// The watch itself would wait for ever, for an etcd that is away and for one that was set back.
	err := w.store.do(ctx, func(ctx context.Context, etcd clientv3.KV) error {
		answer, err := etcd.Get(ctx, w.folder, clientv3.WithCountOnly())
		if err == nil && answer.Header.Revision < w.seen {
			err = rpctypes.ErrFutureRev
		}
		return err
	})
	if err != nil {
		return err
	}
	client, err := w.store.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	w.leave() // what is left of the last one
	var connection context.Context
	connection, w.leave = context.WithCancel(w.connection)
	waiting := context.AfterFunc(ctx, w.leave)
	w.changes = client.Watch(connection, w.folder, clientv3.WithPrefix(), clientv3.WithRev(w.seen+1),
		clientv3.WithPrevKV(), clientv3.WithProgressNotify(), clientv3.WithFragment())
	if !waiting() {
		return ctx.Err()
	}
	w.asking.Do(func() { go w.askProgress(client) })
	return nil
}

// askProgress runs until Stop. The answer goes to all watches of the store, so that few of them have to ask. Without
// one, Next is told: etcd may be away, or was set back, and does not answer who waits for a revision to come.
func (w *watcher) askProgress(client *clientv3.Client) {
	tick := time.NewTicker(w.store.progressEvery)
	defer tick.Stop()
	asked := false
	for {
		select {
		case <-w.connection.Done():
			return
		case <-tick.C:
		}
		switch {
		case w.heard.Swap(false):
			asked = false
		case asked:
			asked = false
			select {
			case w.silent <- struct{}{}:
			default:
			}
		default:
			asked = true
			ctx, cancel := context.WithTimeout(w.connection, answerWithin)
			_ = client.RequestProgress(ctx) // the silence tells
			cancel()
		}
	}
}

// Stop implements datastore.Watcher.
func (w *watcher) Stop() { w.stop() }

// Next implements datastore.Watcher.
func (w *watcher) Next(ctx context.Context) (datastore.Event, error) {
	for {
		switch {
		case w.connection.Err() != nil:
			return datastore.Event{}, w.fail(nil, context.Canceled)
		case ctx.Err() != nil:
			return datastore.Event{}, w.fail(nil, ctx.Err())
		case len(w.pending) > 0:
			event := w.pending[0]
			w.pending = w.pending[1:]
			return event, nil
		}
		var err error
		select {
		case <-ctx.Done():
		case <-w.connection.Done():
		case <-w.silent:
			err = w.start(ctx)
		case answer, ok := <-w.changes:
			w.heard.Store(true)
			err = w.take(ctx, answer, ok)
		}
		if err != nil && w.connection.Err() == nil {
			return datastore.Event{}, w.store.opError(ctx, "watch", w.kind, datastore.Key{}, err)
		}
	}
}

// errEnded is the cause when etcd gives none.
var errEnded = errors.New("etcd ended the watch")

// take makes pending events of an answer, or starts the watch again if it ended.
func (w *watcher) take(ctx context.Context, answer clientv3.WatchResponse, ok bool) error {
	err := answer.Err()
	if !ok && err == nil {
		err = errEnded
	}
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("revision %d: %w", w.seen, err)
	case err != nil:
		return w.restart(ctx, err)
	case answer.Header.Revision < w.seen:
		return w.start(ctx) // a member that lags behind; or etcd was set back, which the start finds out
	}
	w.failures = 0
	had := w.seen
	for i, change := range answer.Events {
		at := change.Kv.ModRevision
		if at <= had {
			continue // etcd's client goes back to the progress of a member that lags behind
		}
		revision := at
		if i+1 < len(answer.Events) && answer.Events[i+1].Kv.ModRevision == at {
			revision = at - 1 // a transaction of another's: only its last event completes it
		}
		w.seen = at
		if event, ok := w.event(change); ok {
			event.Revision = format(revision)
			w.pending = append(w.pending, event)
		}
	}
	if answer.IsProgressNotify() && answer.Header.Revision > w.seen {
		w.seen = answer.Header.Revision
		w.pending = append(w.pending, datastore.Event{Type: datastore.Bookmark, Revision: format(w.seen)})
	}
	return nil
}

// A watch that ends before anything came is started again so often, with waits between. One member may know of a login
// or of a new leader later than another.
const (
	mostFailures = 5
	failureWait  = 100 * time.Millisecond
)

// restart starts a watch again that ended for a reason that may be over.
func (w *watcher) restart(ctx context.Context, reason error) error {
	w.failures++
	if w.failures > mostFailures {
		return temporary{reason}
	}
	select {
	case <-time.After(time.Duration(w.failures-1) * failureWait):
	case <-ctx.Done():
		return ctx.Err()
	case <-w.connection.Done():
		return w.connection.Err()
	}
	return w.start(ctx)
}

// event is what a change is to the reader.
func (w *watcher) event(change *clientv3.Event) (datastore.Event, bool) {
	event := datastore.Event{Type: datastore.Modified}
	kv := change.Kv
	switch {
	case change.Type == clientv3.EventTypeDelete:
		event.Type = datastore.Deleted
		kv = change.PrevKv
		if kv == nil { // compacted in between
			kv = change.Kv
		}
	case change.IsCreate():
		event.Type = datastore.Added
	}
	object, err := decode(w.kind, kv)
	if err != nil && event.Type != datastore.Deleted {
		event.Type, event.Err = datastore.Deleted, err
		if change.PrevKv != nil {
			if before, err := decode(w.kind, change.PrevKv); err == nil {
				object = before
			}
		}
	}
	object.SetResourceVersion(format(change.Kv.ModRevision))
	event.Object = object
	return event, w.selects(object)
}

func (w *watcher) fail(sentinel, cause error) error {
	return datastore.OpError("watch", w.kind, datastore.Key{}, sentinel, cause)
}
