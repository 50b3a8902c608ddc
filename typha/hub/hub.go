package hub

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/wire"
)

// Options configure a Hub. The zero value of a field is its default.
type Options struct {
	// Kinds are the kinds of resources that must have been listed before anything is handed out.
	Kinds []string
	// MaxFallBehind is how long a node may leave changes unread before its session is ended; 0 is 5 minutes. A session
	// is not ended for that in the GracePeriod after it was opened; 0 is 5 minutes.
	MaxFallBehind, GracePeriod time.Duration
	// Budget limits what policies may use.
	Budget compile.Budget
	Logger *slog.Logger // nil discards
	// Metrics are the figures to count in; nil is a set of its own that nobody reads.
	Metrics *Metrics
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.MaxFallBehind == 0 {
		o.MaxFallBehind = 5 * time.Minute
	}
	if o.GracePeriod == 0 {
		o.GracePeriod = 5 * time.Minute
	}
}

// Hub owns the calculation engine and distributes its results. Make it with New, and call Run. The other methods may be
// called before Run; those that send a request to the Hub block until Run has received it or has ended.
type Hub struct {
	opts     Options
	requests chan func()   // unbuffered; written by the methods, read by Run, never closed
	done     chan struct{} // closed by Run when it ends
	synced   chan struct{} // closed by Run when the first result can be handed out
	runOnce  sync.Once
	progress atomic.Uint64 // objects received and handed out

	// The rest is owned by the goroutine of Run.
	input     input
	store     store
	observers observers
	nextFlush time.Time // the earliest time of the next flush
}

// New returns a Hub that has received nothing.
func New(opts Options) *Hub {
	opts.setDefaults()
	h := &Hub{opts: opts, requests: make(chan func()), done: make(chan struct{}), synced: make(chan struct{})}
	h.input = newInput(opts, &h.progress)
	h.store = newStore(&h.progress)
	h.observers = newObservers()
	return h
}

// inspectInterval is the time between two checks of the sessions.
const inspectInterval = 5 * time.Second

// Run does the Hub's work until ctx ends, and returns its error. Call it once. When it returns, sessions and observers
// end with ErrClosed.
func (h *Hub) Run(ctx context.Context) error {
	first := false
	h.runOnce.Do(func() { first = true })
	if !first {
		panic("hub: Run called twice")
	}
	defer close(h.done)
	inspect := time.NewTicker(inspectInterval)
	defer inspect.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		h.observers.serve()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case request := <-h.requests:
			request()
		case <-due.C:
		case <-inspect.C:
			h.inspect()
		}
		h.serveRequests()
		if wait := time.Until(h.nextFlush); h.input.dirty && wait > 0 {
			due.Reset(wait)
			continue
		}
		more := h.flush()
		if more { // requests are served before the next flush
			due.Reset(time.Until(h.nextFlush))
		}
	}
}

// Between two flushes the Hub serves up to maxBatch requests, for about maxBatchTime. A single request may take longer.
const (
	maxBatch     = 1000
	maxBatchTime = 5 * time.Millisecond
)

// serveRequests serves the requests that wait. Updates that arrive faster than they are distributed then share one
// flush. The number and the time are bounded, so that a single change is not delayed for long.
func (h *Hub) serveRequests() {
	began := time.Now()
	for n := range maxBatch {
		if n%16 == 15 && time.Since(began) > maxBatchTime {
			return
		}
		select {
		case request := <-h.requests:
			request()
		default:
			return
		}
	}
}

// do runs a request on the Hub's goroutine. It returns when the request has been received.
func (h *Hub) do(ctx context.Context, request func()) error {
	select {
	case h.requests <- request:
		return nil
	case <-h.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post runs a request on the Hub's goroutine, unless Run has ended.
func (h *Hub) post(request func()) {
	select {
	case h.requests <- request:
	case <-h.done:
	}
}

// call runs a request on the Hub's goroutine and waits until it has run.
func (h *Hub) call(ctx context.Context, request func()) error {
	finished := make(chan struct{})
	if err := h.do(ctx, func() { request(); close(finished) }); err != nil {
		return err
	}
	<-finished // requests do not block
	return nil
}

// Update hands changes to the Hub, which owns the objects from then on. The updates of one kind must come from one
// goroutine, in order.
func (h *Hub) Update(ctx context.Context, u Update) error {
	return h.do(ctx, func() { h.input.update(u) })
}

// stepsPerFlush is how many steps of the work for large policies one flush does. They take a few milliseconds, for
// which other changes may have to wait.
const stepsPerFlush = 5_000

// A flush causes work in the sessions that it concerns. The next flush waits for pacePerSession for each of them, up to
// maxPace. With many changes, nodes then get fewer and larger commits. A change after a pause does not wait.
const (
	pacePerSession = 10 * time.Microsecond
	maxPace        = 50 * time.Millisecond
)

// flush computes what the updates mean, and hands it out. It reports whether there is more to compute. It does nothing
// until every kind has been listed, because the result would be incomplete.
func (h *Hub) flush() (more bool) {
	if !h.input.ready() {
		return false
	}
	steps := stepsPerFlush
	if !h.inSync() {
		steps = math.MaxInt // nobody can use a part of the first result
	}
	delta, received := h.input.step(steps)
	h.noteProblems(delta.Problems)
	if delta.Empty() {
		h.opts.Metrics.updates.skipped.Add(float64(received))
	} else {
		h.distribute(delta)
	}
	if !h.inSync() {
		h.opts.Logger.Info("in sync with the datastore", "objects", len(h.store.entries))
		close(h.synced)
	}
	return h.input.dirty
}

// distribute stores the delta, and serves the sessions whose readers wait for a change.
func (h *Hub) distribute(delta calc.Delta) {
	touched := h.store.apply(delta)
	h.opts.Metrics.updates.distributed(h.store.sequence, len(h.store.entries), &delta)
	served := 0
	for _, s := range touched {
		s.pending.queued = false
		served += count(s.serve(true))
	}
	clear(touched)
	h.nextFlush = time.Now().Add(min(time.Duration(served)*pacePerSession, maxPace))
}

// noteProblems logs problems, counts them, and passes them to the observers.
func (h *Hub) noteProblems(problems []calc.Problem) {
	for _, p := range problems {
		more := h.observers.noteProblem(p)
		if more != 0 {
			h.opts.Metrics.unusable.WithLabelValues(p.Kind).Add(float64(more))
		}
		log := h.opts.Logger.With("kind", p.Kind, "namespace", p.Namespace, "name", p.Name)
		if p.Reason == "" {
			log.Info("resource has no problem any more, or is gone")
		} else {
			log.Warn("resource cannot be used", "reason", p.Reason)
		}
	}
}

// InSync returns a channel that is closed when all kinds have been listed and their result can be handed out.
func (h *Hub) InSync() <-chan struct{} { return h.synced }

// WaitInSync waits until InSync is closed.
func (h *Hub) WaitInSync(ctx context.Context) error {
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

// Hosts returns the number of nodes in the cluster.
func (h *Hub) Hosts(ctx context.Context) (int, error) {
	n := 0
	err := h.call(ctx, func() { n = h.store.hosts })
	return n, err
}

// Cluster returns how many resources and endpoints there are in the cluster, and whether that is known yet.
func (h *Hub) Cluster() (wire.Cluster, bool) {
	stats := h.opts.Metrics.calc.stats.Load()
	if stats == nil {
		return wire.Cluster{}, false
	}
	return stats.Cluster, true
}

// Versions returns, by kind, the resource version of the newest change that the Hub has received.
func (h *Hub) Versions(ctx context.Context) (map[string]string, error) {
	var v map[string]string
	err := h.call(ctx, func() { v = h.input.versions.changedNow() })
	return v, err
}
