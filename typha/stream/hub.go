package stream

import (
	"context"
	"log/slog"
	"maps"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// Update is a batch of changes of one kind of resource, from the kind's one reader.
type Update struct {
	Kind    string
	Upserts []metav1.Object
	Deletes []Name
	// Changed is the resource version of the newest change in the batch; empty if it has none.
	Changed string
	// Seen is the resource version up to which the reader has certainly seen every change.
	Seen string
	// Listed says that, with this batch, all objects of the kind have been delivered once.
	Listed bool
}

// Name names a resource within its kind.
type Name struct{ Namespace, Name string }

// HubOptions configure a Hub. The zero value of a field is its default.
type HubOptions struct {
	// Kinds are the kinds that must have been listed before anything is handed out.
	Kinds []string
	// Logger receives what changes; nil discards.
	Logger *slog.Logger
	// Metrics is counted into; nil is a set of its own that nobody reads.
	Metrics *Metrics
}

// Hub owns the calculation engine and distributes its results. Make it with NewHub; all
// work is done by Run. Its methods are safe for concurrent use, and block until Run has
// taken the request or has ended.
type Hub struct {
	log     *slog.Logger
	metrics *Metrics
	ops     chan func() // written by the methods, read by Run; unbuffered
	done    chan struct{}
	synced  chan struct{}
	runOnce sync.Once

	// The rest is owned by Run's goroutine.
	engine   *calc.Engine
	missing  map[string]struct{} // kinds not yet listed
	versions versions
	sequence uint64
	dirty    bool // the engine has input that was not flushed
	objects  map[wire.ID]*object
	nodes    map[string]map[wire.ID]struct{} // what each node needs beyond ForEveryNode
	needers  map[wire.ID]map[string]struct{} // the reverse of nodes
	sessions map[string]map[*Session]struct{}
}

// NewHub makes a Hub that knows nothing yet.
func NewHub(opts HubOptions) *Hub {
	h := &Hub{
		log:      opts.Logger,
		metrics:  opts.Metrics,
		ops:      make(chan func()),
		done:     make(chan struct{}),
		synced:   make(chan struct{}),
		engine:   calc.New(),
		missing:  map[string]struct{}{},
		versions: newVersions(),
		objects:  map[wire.ID]*object{},
		nodes:    map[string]map[wire.ID]struct{}{},
		needers:  map[wire.ID]map[string]struct{}{},
		sessions: map[string]map[*Session]struct{}{},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.metrics == nil {
		h.metrics = NewMetrics(nil)
	}
	for _, kind := range opts.Kinds {
		h.missing[kind] = struct{}{}
	}
	return h
}

// Run does the Hub's work until ctx ends, and returns its error. Call it once; sessions end
// with ErrClosed when it returns.
func (h *Hub) Run(ctx context.Context) error {
	first := false
	h.runOnce.Do(func() { first = true })
	if !first {
		panic("stream: Hub.Run called twice")
	}
	defer close(h.done)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case op := <-h.ops:
			op()
		}
		// Updates that arrive faster than they are distributed share one flush, up to a bound that
		// keeps the delay of a single change small.
		for range maxBatch {
			select {
			case op := <-h.ops:
				op()
				continue
			default:
			}
			break
		}
		h.flush()
	}
}

// maxBatch is how many requests are served between two flushes at most.
const maxBatch = 1000

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
	for _, o := range u.Upserts {
		h.engine.Upsert(o)
	}
	for _, n := range u.Deletes {
		h.engine.Delete(u.Kind, n.Namespace, n.Name)
	}
	h.metrics.updates.Add(float64(len(u.Upserts) + len(u.Deletes)))
	h.versions.changed.raise(u.Kind, u.Changed)
	h.versions.seen.raise(u.Kind, u.Seen)
	if u.Listed {
		delete(h.missing, u.Kind)
	}
	h.dirty = true
}

// InSync is closed when all kinds have been listed and their outcome can be handed out.
func (h *Hub) InSync() <-chan struct{} { return h.synced }

func (h *Hub) inSync() bool {
	select {
	case <-h.synced:
		return true
	default:
		return false
	}
}

// flush distributes what changed. Before every kind is listed the outcome is not an outcome
// yet, and nothing is computed.
func (h *Hub) flush() {
	if !h.dirty || len(h.missing) > 0 {
		return
	}
	h.dirty = false
	delta := h.engine.Flush()
	for _, v := range delta.Verdicts {
		h.judge(v)
	}
	if delta.Empty() {
		h.metrics.skipped.Inc()
	} else {
		h.sequence++
		h.distribute(delta)
	}
	h.metrics.sequence.Set(float64(h.sequence))
	h.metrics.cacheSize.Set(float64(len(h.objects)))
	if !h.inSync() {
		h.log.Info("in sync with the datastore", "objects", len(h.objects))
		close(h.synced)
	}
	for _, sessions := range h.sessions {
		for s := range sessions {
			s.serve()
		}
	}
}

func (h *Hub) judge(v calc.Verdict) {
	if v.Reason == "" {
		h.metrics.unusable.DeleteLabelValues(v.Kind, v.Namespace, v.Name)
		h.log.Info("resource can be used again", "kind", v.Kind, "namespace", v.Namespace, "name", v.Name)
		return
	}
	h.metrics.unusable.WithLabelValues(v.Kind, v.Namespace, v.Name).Set(1)
	h.log.Warn("resource cannot be used", "kind", v.Kind, "namespace", v.Namespace, "name", v.Name, "reason", v.Reason)
}

// distribute stores the delta and marks what changed in the sessions concerned.
func (h *Hub) distribute(delta calc.Delta) {
	for _, o := range delta.Upserts {
		id := o.ID()
		_, existed := h.objects[id]
		h.objects[id] = &object{value: o}
		h.markAll(id, existed)
	}
	for _, id := range delta.Deletes {
		h.markAll(id, true)
		delete(h.objects, id)
	}
	for node, change := range delta.Interest {
		needs := h.nodes[node]
		if needs == nil {
			needs = map[wire.ID]struct{}{}
			h.nodes[node] = needs
		}
		for _, id := range change.Added {
			needs[id] = struct{}{}
			if h.needers[id] == nil {
				h.needers[id] = map[string]struct{}{}
			}
			h.needers[id][node] = struct{}{}
			h.mark(node, id, false)
		}
		for _, id := range change.Removed {
			delete(needs, id)
			delete(h.needers[id], node)
			if len(h.needers[id]) == 0 {
				delete(h.needers, id)
			}
			h.mark(node, id, true)
		}
		if len(needs) == 0 {
			delete(h.nodes, node)
		}
	}
}

// markAll marks a changed object in the sessions of the nodes that need it.
func (h *Hub) markAll(id wire.ID, existed bool) {
	if !calc.ForEveryNode(id) {
		for node := range h.needers[id] {
			h.mark(node, id, true)
		}
		return
	}
	for node := range h.sessions {
		h.mark(node, id, existed)
	}
}

func (h *Hub) mark(node string, id wire.ID, had bool) {
	for s := range h.sessions[node] {
		s.mark(id, had)
	}
}

// needs says whether the object exists and the node needs it.
func (h *Hub) needs(node string, id wire.ID) bool {
	if calc.ForEveryNode(id) {
		_, exists := h.objects[id]
		return exists
	}
	_, needed := h.nodes[node][id]
	return needed
}

// Status tells, by node, the last report of each node that has a session now.
func (h *Hub) Status(ctx context.Context) (map[string]wire.Report, error) {
	reports := map[string]wire.Report{}
	err := h.call(ctx, func() {
		for node, sessions := range h.sessions {
			for s := range sessions {
				if s.report.Applied >= reports[node].Applied {
					reports[node] = s.report
				}
			}
		}
	})
	return reports, err
}

// Versions gives, by kind, the resource version of the newest change taken in.
func (h *Hub) Versions(ctx context.Context) (map[string]string, error) {
	var v map[string]string
	err := h.call(ctx, func() { v = maps.Clone(h.versions.changed) })
	return v, err
}
