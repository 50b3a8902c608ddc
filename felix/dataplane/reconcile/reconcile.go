// Package reconcile is the loop that the drivers of the kernel share: it compares what is desired with what the kernel
// has, key by key, and changes what differs.
//
// A driver hands New a Target, which lists, updates and deletes one kind of kernel object, and keeps for itself only
// what is peculiar to that kind. The loop owns both sides of the comparison, and knows when they have to be read again
// and which keys failed. It has no goroutine and no clock: Apply works when the driver's owner, the agent's goroutine,
// calls it, and the owner decides when to try again. Nothing is locked, and the loop does not log.
//
// docs/design/reconcile.md describes the states of a key and why nothing is deleted too early.
package reconcile

import (
	"context"
	"errors"
	"slices"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
)

// Target is one kind of kernel object. Its methods are called by Apply alone.
type Target[K comparable, V any] interface {
	// List returns the objects that the kernel has and that are ours to change. A target that cannot list returns
	// none: after each Resync the loop then updates every desired key, and Update reads before it writes.
	List(ctx context.Context) (map[K]V, error)
	// Update makes the kernel have c.Desired, in place of c.Actual where c.Exists is set.
	Update(ctx context.Context, c Change[K, V]) error
	// Delete removes c.Actual from the kernel. It succeeds if there is nothing to remove.
	Delete(ctx context.Context, c Change[K, V]) error
}

// BatchDeleter is a Target that deletes many objects with one request. Apply calls DeleteBatch instead of Delete.
// After an error every key of the batch is tried again.
type BatchDeleter[K comparable, V any] interface {
	DeleteBatch(ctx context.Context, changes []Change[K, V]) error
}

// Change is what Apply wants done for one key.
type Change[K comparable, V any] struct {
	Key     K
	Desired V    // of Update
	Actual  V    // if Exists
	Exists  bool // as far as is known, the kernel has Actual
}

// ErrYields is what Update returns for an object that the kernel cannot have at present and need not have. Apply does
// not report it. The key stays pending.
var ErrYields = errors.New("another object has precedence")

// Unchanged marks an error of Update or Delete after which the kernel is still as the loop knows it: Apply does not
// list again because of it. It returns nil for nil.
func Unchanged(err error) error {
	if err == nil {
		return nil
	}
	return unchangedError{err}
}

type unchangedError struct{ error }

func (e unchangedError) Unwrap() error { return e.error }

// Effect is what an event means to a loop.
type Effect uint8

// The effects.
const (
	// None: the event agrees with what the loop knows, or is about something else.
	None Effect = iota
	// Retry: what is pending may succeed now.
	Retry
	// Contradicts: the kernel is not as the loop knows it, so it has to be listed again.
	Contradicts
)

// Config says how a loop compares.
type Config[K comparable, V any] struct {
	// Equal reports whether an actual value is as good as the desired one.
	Equal func(desired, actual V) bool
	// Compare orders the keys of one Apply, as for slices.SortFunc.
	Compare func(a, b K) int
	// Effect returns what an event other than dataplane.EventLost means; nil if no event means anything.
	Effect func(dataplane.Event) Effect
}

// Loop is the desired and the actual objects of one Target.
type Loop[K comparable, V any] struct {
	target  Target[K, V]
	cfg     Config[K, V]
	objects *delta.Map[K, V]
	known   bool // List has succeeded once
	loaded  bool // List has succeeded since the last Resync
	// complete is set once the owner has said all that it desires. Before, only the keys in removed are deleted.
	complete bool
	removed  map[K]bool
	// doubted are keys of which a change failed since the last List: the kernel may have either value, or none.
	doubted map[K]bool
}

// New returns a loop that desires nothing and knows nothing of the kernel yet.
func New[K comparable, V any](target Target[K, V], cfg Config[K, V]) *Loop[K, V] {
	return &Loop[K, V]{target: target, cfg: cfg, objects: delta.New[K](cfg.Equal), removed: map[K]bool{},
		doubted: map[K]bool{}}
}

// Set makes v desired, in place of what was desired for its key.
func (l *Loop[K, V]) Set(k K, v V) {
	l.objects.Set(k, v)
	delete(l.removed, k)
}

// Remove makes the key not desired: the next Apply deletes it.
func (l *Loop[K, V]) Remove(k K) {
	l.objects.Unset(k)
	if !l.complete {
		l.removed[k] = true
	}
}

// Replace makes exactly these values desired, which are then complete. It keeps the map.
func (l *Loop[K, V]) Replace(desired map[K]V) {
	l.objects.Replace(desired)
	l.Complete()
}

// Complete says that everything desired has been set. Until then Apply leaves alone what an earlier process made,
// unless Remove named it.
func (l *Loop[K, V]) Complete() {
	l.complete = true
	clear(l.removed)
}

// Found records that the kernel has v, without a List.
func (l *Loop[K, V]) Found(k K, v V) { l.objects.Observe(k, v) }

// Forget records that nothing is known of a key: if it is desired, the next Apply updates it.
func (l *Loop[K, V]) Forget(k K) { l.objects.Forget(k) }

// Desired returns what is desired for a key.
func (l *Loop[K, V]) Desired(k K) (V, bool) { return l.objects.Desired(k) }

// Actual returns what the kernel has for a key, as far as is known.
func (l *Loop[K, V]) Actual(k K) (V, bool) { return l.objects.Actual(k) }

// AllDesired returns everything desired. The caller does not change it.
func (l *Loop[K, V]) AllDesired() map[K]V { return l.objects.AllDesired() }

// AllActual returns everything that the kernel has, as far as is known. The caller does not change it.
func (l *Loop[K, V]) AllActual() map[K]V { return l.objects.AllActual() }

// InPlace reports whether, as far as is known, the kernel has what is desired for a key: the value, or nothing. Before
// the first successful List it returns false.
func (l *Loop[K, V]) InPlace(k K) bool {
	return l.known && l.objects.Agrees(k) && !l.doubted[k]
}

// Resync makes the next Apply list the kernel's objects before it compares.
func (l *Loop[K, V]) Resync() { l.loaded = false }

// Observe takes an event, and reports whether an Apply is due because of it.
func (l *Loop[K, V]) Observe(e dataplane.Event) bool {
	effect := Contradicts
	if e.Kind != dataplane.EventLost {
		if l.cfg.Effect == nil {
			return false
		}
		effect = l.cfg.Effect(e)
	}
	if effect == Contradicts {
		l.Resync()
	}
	return effect != None
}

// Apply makes the kernel match, in the order of the keys: first what is missing or differs, then what is not desired.
// A key that fails does not hold up the others. It stays pending for the next Apply, which lists first unless this one
// did or the error is marked by Unchanged. Without a successful List nothing is changed. Apply returns the errors,
// joined.
func (l *Loop[K, V]) Apply(ctx context.Context) error {
	fresh := !l.loaded
	if fresh {
		actual, err := l.target.List(ctx)
		if err != nil {
			return err
		}
		if actual == nil {
			actual = map[K]V{}
		}
		l.objects.Load(actual)
		l.known, l.loaded = true, true
		clear(l.doubted)
	}
	f := failures{}
	if !l.objects.Settled() || len(l.doubted) > 0 {
		updates, deletes := l.pending()
		l.update(ctx, updates, &f)
		l.delete(ctx, deletes, &f)
	}
	if f.stale && !fresh {
		l.Resync()
	}
	return errors.Join(f.errs...)
}

// pending returns what differs or is in doubt, in order.
func (l *Loop[K, V]) pending() (updates, deletes []Change[K, V]) {
	wanted, unwanted := l.objects.Pending()
	for k := range l.doubted {
		if !l.objects.Agrees(k) {
			continue
		}
		if _, ok := l.objects.Desired(k); ok {
			wanted = append(wanted, k)
		} else {
			unwanted = append(unwanted, k)
		}
	}
	if !l.complete {
		unwanted = slices.DeleteFunc(unwanted, func(k K) bool { return !l.removed[k] })
	}
	return l.changes(wanted), l.changes(unwanted)
}

func (l *Loop[K, V]) changes(keys []K) []Change[K, V] {
	slices.SortFunc(keys, l.cfg.Compare)
	list := make([]Change[K, V], 0, len(keys))
	for _, k := range keys {
		c := Change[K, V]{Key: k}
		c.Desired, _ = l.objects.Desired(k)
		c.Actual, c.Exists = l.objects.Actual(k)
		list = append(list, c)
	}
	return list
}

func (l *Loop[K, V]) update(ctx context.Context, changes []Change[K, V], f *failures) {
	for _, c := range changes {
		if f.ended(ctx) {
			return
		}
		if err := l.target.Update(ctx, c); err != nil {
			l.failed(f, err, c)
			continue
		}
		l.objects.Observe(c.Key, c.Desired)
		delete(l.doubted, c.Key)
	}
}

func (l *Loop[K, V]) delete(ctx context.Context, changes []Change[K, V], f *failures) {
	if batch, ok := l.target.(BatchDeleter[K, V]); ok && len(changes) > 0 {
		if f.ended(ctx) {
			return
		}
		if err := batch.DeleteBatch(ctx, changes); err != nil {
			l.failed(f, err, changes...)
			return
		}
		l.deleted(changes...)
		return
	}
	for _, c := range changes {
		if f.ended(ctx) {
			return
		}
		if err := l.target.Delete(ctx, c); err != nil {
			l.failed(f, err, c)
			continue
		}
		l.deleted(c)
	}
}

func (l *Loop[K, V]) deleted(changes ...Change[K, V]) {
	for _, c := range changes {
		l.objects.Forget(c.Key)
		delete(l.removed, c.Key)
		delete(l.doubted, c.Key)
	}
}

// failed adds the error of changes, which leaves their keys pending.
func (l *Loop[K, V]) failed(f *failures, err error, changes ...Change[K, V]) {
	if errors.Is(err, ErrYields) {
		return
	}
	f.errs = append(f.errs, err)
	if _, unchanged := errors.AsType[unchangedError](err); unchanged {
		return
	}
	f.stale = true
	for _, c := range changes {
		l.doubted[c.Key] = true
	}
}

// failures are the errors of one Apply.
type failures struct {
	errs  []error
	stale bool // the kernel may not be as the loop knows it
	over  bool // the context has ended
}

// ended reports whether the context has ended, and adds its error once.
func (f *failures) ended(ctx context.Context) bool {
	if ctx.Err() != nil && !f.over {
		f.over = true
		f.errs = append(f.errs, ctx.Err())
	}
	return f.over
}
