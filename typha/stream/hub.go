package stream

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/wire"
)

// Update is a batch of changes of one kind of resource, from the kind's one reader.
type Update struct {
	Kind    string
	Upserts []metav1.Object
	Deletes []Name
	// Refused are objects that are there and cannot be read, with the reasons.
	Refused map[Name]string
	// Changed is the resource version of the newest change in the batch; empty if it has none.
	Changed string
	// Seen is the resource version up to which the reader has certainly seen every change.
	Seen string
	// Listed says that, with this batch, all objects of the kind have been delivered once.
	Listed bool
	// Datastore identifies the datastore, if the batch tells that.
	Datastore string
}

// Name names a resource within its kind.
type Name struct{ Namespace, Name string }

// HubOptions configure a Hub. The zero value of a field is its default.
type HubOptions struct {
	// Kinds are the kinds that must have been listed before anything is handed out.
	Kinds []string
	// MaxFallBehind is how long a node may leave changes unread before its session is ended; 0 is 5 minutes. In the
	// GracePeriod after it connected, 0 is 5 minutes too, it may take longer.
	MaxFallBehind, GracePeriod time.Duration
	// Budget limits what policies may use.
	Budget compile.Budget
	// Logger receives what changes; nil discards.
	Logger *slog.Logger
	// Metrics is counted into; nil is a set of its own that nobody reads.
	Metrics *Metrics
}

// Hub owns the calculation engine and distributes its results. Make it with NewHub; all
// work is done by Run. Its methods are safe for concurrent use, and block until Run has
// taken the request or has ended.
type Hub struct {
	opts    HubOptions
	log     *slog.Logger
	metrics *Metrics
	ops     chan func() // written by the methods, read by Run; unbuffered
	done    chan struct{}
	synced  chan struct{}
	runOnce sync.Once
	// progress counts the work of Run, besides the steps of the engine; see Alive.
	progress atomic.Uint64

	// The rest is owned by Run's goroutine.
	engine    *calc.Engine
	missing   map[string]struct{} // kinds not yet listed
	versions  versions
	datastore string            // of the versions; empty while that is not known
	applied   map[string]string // versions.changed as of the last flush; a new map at each change
	sequence  uint64
	dirty     bool      // the engine has input that was not flushed
	unflushed int       // resources in that input
	earliest  time.Time // of the next flush
	entries   map[wire.ID]*entry
	catalog   catalog // what every node needs, besides in entries
	nodes     map[string]*node
	touched   []*Session // marked since the last flush
	hosts     int        // objects of KindHost

	observers map[*observer]struct{}
	problems  map[resource]string // why resources cannot be used
}

// entry is what the Hub knows of one ID.
type entry struct {
	object  *object // nil if there is none
	needers []*node // of an object that not every node needs
}

// node is a node that needs objects of its own or has a session.
type node struct {
	name     string
	needs    map[*entry]struct{}
	sessions []*Session // in the order in which they were opened
}

// NewHub makes a Hub that knows nothing yet.
func NewHub(opts HubOptions) *Hub {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = NewMetrics(nil)
	}
	if opts.MaxFallBehind == 0 {
		opts.MaxFallBehind = 5 * time.Minute
	}
	if opts.GracePeriod == 0 {
		opts.GracePeriod = 5 * time.Minute
	}
	h := &Hub{
		opts:     opts,
		log:      opts.Logger,
		metrics:  opts.Metrics,
		ops:      make(chan func()),
		done:     make(chan struct{}),
		synced:   make(chan struct{}),
		engine:   calc.NewWithin(opts.Budget),
		missing:  map[string]struct{}{},
		versions: newVersions(),
		entries:  map[wire.ID]*entry{},
		nodes:    map[string]*node{},

		observers: map[*observer]struct{}{},
		problems:  map[resource]string{},
	}
	for _, kind := range opts.Kinds {
		h.missing[kind] = struct{}{}
	}
	return h
}

// inspectInterval is how often the Hub looks after its sessions.
const inspectInterval = 5 * time.Second

// Run does the Hub's work until ctx ends, and returns its error. Call it once; sessions end
// with ErrClosed when it returns.
func (h *Hub) Run(ctx context.Context) error {
	first := false
	h.runOnce.Do(func() { first = true })
	if !first {
		panic("stream: Hub.Run called twice")
	}
	defer close(h.done)
	inspect := time.NewTicker(inspectInterval)
	defer inspect.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		h.tell()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case op := <-h.ops:
			op()
		case <-due.C:
		case <-inspect.C:
			h.inspect()
		}
		h.drain()
		if wait := time.Until(h.earliest); h.dirty && wait > 0 {
			due.Reset(wait)
			continue
		}
		if h.flush() { // there is more to compute; other requests are served in between
			due.Reset(time.Until(h.earliest))
		}
	}
}

// drain serves requests that wait, so that updates which arrive faster than they are distributed share one flush, up
// to a bound that keeps the delay of a single change small.
func (h *Hub) drain() {
	began := time.Now()
	for n := range maxBatch {
		if n%16 == 15 && time.Since(began) > maxDrain {
			return
		}
		select {
		case op := <-h.ops:
			op()
		default:
			return
		}
	}
}

// maxBatch is the largest number of requests that are served between two flushes. maxDrain is about how long that may
// take, since some requests are large.
const (
	maxBatch = 1000
	maxDrain = 5 * time.Millisecond
)

// stepsPerFlush is how many steps of the work for large policies a flush does. They take some milliseconds, and other
// changes wait no longer than that.
const stepsPerFlush = 5_000

// A flush costs the senders of the sessions that it concerns some time each. The next one waits for that time,
// up to a bound, so that under many changes all nodes get fewer and larger commits. A change after a pause
// does not wait.
const (
	pacePerSession = 10 * time.Microsecond
	maxPace        = 50 * time.Millisecond
)

// do runs op on the Hub's goroutine.
func (h *Hub) do(ctx context.Context, op func()) error {
	select {
	case h.ops <- op:
		return nil
	case <-h.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post runs op on the Hub's goroutine unless that has ended.
func (h *Hub) post(op func()) {
	select {
	case h.ops <- op:
	case <-h.done:
	}
}

// call runs op on the Hub's goroutine and waits for it.
func (h *Hub) call(ctx context.Context, op func()) error {
	finished := make(chan struct{})
	if err := h.do(ctx, func() { op(); close(finished) }); err != nil {
		return err
	}
	<-finished // ops do not block
	return nil
}

// Update hands in changes. The objects belong to the Hub from then on. The updates of one
// kind must come from one goroutine, in order.
func (h *Hub) Update(ctx context.Context, u Update) error {
	return h.do(ctx, func() { h.update(u) })
}

func (h *Hub) update(u Update) {
	began := time.Now()
	for _, o := range u.Upserts {
		h.engine.Upsert(o)
		h.progress.Add(1)
	}
	for _, n := range u.Deletes {
		h.engine.Delete(u.Kind, n.Namespace, n.Name)
	}
	for n, reason := range u.Refused {
		h.engine.Refuse(u.Kind, n.Namespace, n.Name, reason)
	}
	n := len(u.Upserts) + len(u.Deletes) + len(u.Refused)
	h.metrics.updates.Add(float64(n))
	h.metrics.calc.update(u.Kind, n, began)
	h.unflushed += n
	h.versions.changed.raise(u.Kind, u.Changed)
	h.versions.seen.raise(u.Kind, u.Seen)
	if u.Datastore != "" {
		h.datastore = u.Datastore
	}
	if u.Listed {
		delete(h.missing, u.Kind)
	}
	h.dirty = true
}

// InSync is closed when all kinds have been listed and their outcome can be handed out.
func (h *Hub) InSync() <-chan struct{} { return h.synced }

// whenInSync waits for that.
func (h *Hub) whenInSync(ctx context.Context) error {
	select {
	case <-h.synced:
		return nil
	case <-h.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Hub) inSync() bool {
	select {
	case <-h.synced:
		return true
	default:
		return false
	}
}

// flush distributes what changed, and reports whether more is to be computed. It computes nothing until every kind is
// listed, because the result would be incomplete.
func (h *Hub) flush() (more bool) {
	if !h.dirty || len(h.missing) > 0 {
		return false
	}
	steps := math.MaxInt
	if h.inSync() {
		steps = stepsPerFlush
	} // else nobody waits for anything but the whole
	began := time.Now()
	var delta calc.Delta
	delta, h.dirty = h.engine.Step(steps)
	h.metrics.calc.flushed(&delta, h.engine.Stats(), began)
	flushed := h.unflushed
	h.unflushed = 0
	for _, v := range delta.Problems {
		h.judge(v)
	}
	if !maps.Equal(h.applied, h.versions.changed) {
		h.applied = maps.Clone(h.versions.changed)
	}
	if !h.inSync() {
		defer func() {
			h.log.Info("in sync with the datastore", "objects", len(h.entries))
			close(h.synced)
		}()
	}
	if delta.Empty() {
		h.metrics.skipped.Add(float64(flushed))
		return h.dirty
	}
	h.sequence++
	h.distribute(delta)
	h.metrics.sequence.Set(float64(h.sequence))
	h.metrics.commitSize.Observe(float64(len(delta.Upserts) + len(delta.Sets) + len(delta.Deletes)))
	h.metrics.cacheSize.Set(float64(len(h.entries)))
	served := 0
	for _, s := range h.touched {
		if s.queued = false; s.serve(true) {
			served++
		}
	}
	clear(h.touched)
	h.touched = h.touched[:0]
	h.earliest = time.Now().Add(min(time.Duration(served)*pacePerSession, maxPace))
	return h.dirty
}

func (h *Hub) judge(v calc.Problem) {
	if h.keepProblem(v) {
		h.metrics.unusable.WithLabelValues(v.Kind).Add(map[bool]float64{true: 1, false: -1}[v.Reason != ""])
	}
	if v.Reason == "" {
		h.log.Info("nothing is wrong with the resource any more, or it is gone", "kind", v.Kind, "namespace", v.Namespace, "name", v.Name)
		return
	}
	h.log.Warn("resource cannot be used", "kind", v.Kind, "namespace", v.Namespace, "name", v.Name, "reason", v.Reason)
}

// Hosts returns the number of nodes in the cluster.
func (h *Hub) Hosts(ctx context.Context) (int, error) {
	n := 0
	err := h.call(ctx, func() { n = h.hosts })
	return n, err
}

// Versions gives, by kind, the resource version of the newest change taken in.
func (h *Hub) Versions(ctx context.Context) (map[string]string, error) {
	var v map[string]string
	err := h.call(ctx, func() { v = maps.Clone(h.versions.changed) })
	return v, err
}

func removeFrom[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		last := len(list) - 1
		list[i] = list[last]
		var zero T
		list[last] = zero
		return list[:last]
	}
	return list
}
