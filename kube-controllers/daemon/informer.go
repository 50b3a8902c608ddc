package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// informers returns the function that makes the informers of the manager's cache. The informer of a custom resource
// reads object by object through a Store. client-go decodes a list as a whole: one object that does not fit its type
// would keep all others of its kind out of the cache, and so end the program.
func informers(store datastore.Store, scheme *runtime.Scheme, log *slog.Logger) func(
	toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer {
	return func(lw toolscache.ListerWatcher, of runtime.Object, resync time.Duration, by toolscache.Indexers,
	) toolscache.SharedIndexInformer {
		if o, ok := of.(datastore.Object); ok {
			kind, err := datastore.KindOf(o)
			if err == nil && kind.GroupVersion() == v3.GroupVersion {
				lw = itemwise{ListerWatcher: lw, store: store, scheme: scheme, kind: kind,
					log: log.With("kind", kind.String())}
			}
		}
		return toolscache.NewSharedIndexInformer(lw, of, resync, by)
	}
}

// itemwise lists and watches a kind through a Store. An informer calls only the methods that take a context.
type itemwise struct {
	toolscache.ListerWatcher
	store  datastore.Store
	scheme *runtime.Scheme
	kind   datastore.Kind
	log    *slog.Logger
}

// IsWatchListSemanticsUnSupported returns true: a watch does not begin with the existing objects.
func (itemwise) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext implements toolscache.ListerWithContext.
func (i itemwise) ListWithContext(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	list, err := i.store.List(ctx, i.kind, datastore.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, unusable := range list.Unusable {
		i.unreadable(unusable.Key, unusable.Err)
	}
	out := &metav1.List{ListMeta: metav1.ListMeta{ResourceVersion: list.Revision}}
	for _, o := range list.Items {
		out.Items = append(out.Items, runtime.RawExtension{Object: o})
	}
	return out, nil
}

func (i itemwise) unreadable(key datastore.Key, cause error) {
	i.log.Warn("object cannot be read, and counts as missing", "name", key, "error", cause)
}

// WatchWithContext implements toolscache.WatcherWithContext.
func (i itemwise) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	watcher, err := i.store.Watch(ctx, i.kind, options.ResourceVersion, datastore.ListOptions{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	out := eventStream{results: make(chan watch.Event), stop: cancel}
	go func() {
		defer close(out.results)
		defer watcher.Stop()
		defer cancel()
		for more := true; more; {
			var event watch.Event
			event, more = i.next(ctx, watcher)
			select {
			case out.results <- event:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// eventStream is a watch.Interface.
type eventStream struct {
	results chan watch.Event // unbuffered; closed by the goroutine that writes it
	stop    context.CancelFunc
}

// Stop implements watch.Interface.
func (s eventStream) Stop() { s.stop() }

// ResultChan implements watch.Interface.
func (s eventStream) ResultChan() <-chan watch.Event { return s.results }

// next returns the next event, and whether more can follow.
func (i itemwise) next(ctx context.Context, watcher datastore.Watcher) (watch.Event, bool) {
	e, err := watcher.Next(ctx)
	if err != nil {
		status := apierrors.NewInternalError(fmt.Errorf("watch %s: %w", i.kind.Plural, err)).Status()
		var cause apierrors.APIStatus
		if errors.As(err, &cause) {
			status = cause.Status()
		}
		return watch.Event{Type: watch.Error, Object: &status}, false
	}
	if e.Err == nil && e.Type != datastore.Bookmark {
		return watch.Event{Type: eventTypes[e.Type], Object: e.Object}, true
	}
	o, err := i.scheme.New(i.kind.GroupVersionKind)
	named, ok := o.(datastore.Object)
	if err != nil || !ok {
		status := apierrors.NewInternalError(fmt.Errorf("make a %s: %w", i.kind, err)).Status()
		return watch.Event{Type: watch.Error, Object: &status}, false
	}
	named.SetResourceVersion(e.Revision)
	if e.Type == datastore.Bookmark {
		return watch.Event{Type: watch.Bookmark, Object: named}, true
	}
	key := datastore.KeyOf(e.Object)
	i.unreadable(key, e.Err)
	named.SetNamespace(key.Namespace)
	named.SetName(key.Name)
	return watch.Event{Type: watch.Deleted, Object: named}, true
}

var eventTypes = map[datastore.EventType]watch.EventType{
	datastore.Added: watch.Added, datastore.Modified: watch.Modified, datastore.Deleted: watch.Deleted,
}
