package hub

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// Observed is what a replica of Typha reports of the nodes that it serves, and of resources that cannot be used.
type Observed struct {
	// Whole reports that this is all that the replica knows, and replaces what it reported before.
	Whole bool
	// Nodes are those that are new or whose status changed, by name. Of a node with several streams, it is the status
	// of the newest.
	Nodes []NodeStatus
	// Gone are the nodes that have no stream from this replica any more, by name.
	Gone []string
	// Problems are those that changed. An empty Reason says that the resource has no problem any more, or is gone.
	Problems []calc.Problem
	// Answers are those that nodes have given, by name. An answer without a Status is the same as before.
	Answers []NodeAnswer
}

// Observer is a reader of what a Hub knows of its nodes, and of the problems of resources. Like a Session, it has a
// mark for each that changed since it was last read, never a queue.
type Observer struct {
	hub *Hub

	// The rest is owned by the goroutine of Hub.Run.
	store    *store
	waiter   chan<- Observed // of the reader, if it waits
	whole    bool            // nothing was delivered yet: the next answer has everything
	nodes    map[string]struct{}
	problems map[resource]struct{}
	answers  map[string]struct{}
	sent     map[string]*wire.StatusAnswer // by node, the answer that the reader has
}

// observers are all Observers of a Hub, and the problems that they can report. It is owned by the goroutine of Hub.Run.
type observers struct {
	all      map[*Observer]struct{}
	problems map[resource]string // the reasons
}

// resource names a resource among those of all kinds.
type resource struct {
	kind string
	Name
}

// MaxObservers is how many observers a Hub may have, because each change is sent to all of them. The leader of
// kube-controllers is one.
const MaxObservers = 16

// ErrManyObservers is returned when a Hub has MaxObservers already.
var ErrManyObservers = errors.New("too many others observe already")

func newObservers() observers {
	return observers{all: map[*Observer]struct{}{}, problems: map[resource]string{}}
}

// Observe opens an Observer once the Hub is in sync: before, resources with problems would seem to have none. Close it
// after use.
func (h *Hub) Observe(ctx context.Context) (*Observer, error) {
	if err := h.WaitInSync(ctx); err != nil {
		return nil, err
	}
	o := &Observer{hub: h, store: &h.store, whole: true, sent: map[string]*wire.StatusAnswer{}}
	o.clear()
	full := false
	err := h.call(ctx, func() {
		full = len(h.observers.all) >= MaxObservers
		if !full {
			h.observers.all[o] = struct{}{}
		}
	})
	if err != nil {
		return nil, err
	}
	if full {
		return nil, ErrManyObservers
	}
	return o, nil
}

// Close closes the observer.
func (o *Observer) Close() {
	o.hub.post(func() { delete(o.hub.observers.all, o) })
}

// Next waits until there is something to report, and returns it. After it has failed, it must not be called again.
func (o *Observer) Next(ctx context.Context) (Observed, error) {
	reply := make(chan Observed, 1)
	if err := o.hub.do(ctx, func() { o.waiter = reply }); err != nil {
		return Observed{}, err
	}
	select {
	case seen := <-reply:
		return seen, nil
	case <-o.hub.done:
		return Observed{}, ErrClosed
	case <-ctx.Done():
		return Observed{}, ctx.Err()
	}
}

// nodeChanged marks that the status of a node changed.
func (os *observers) nodeChanged(name string) {
	for o := range os.all {
		o.nodes[name] = struct{}{}
	}
}

// answerChanged marks that a node has answered.
func (os *observers) answerChanged(name string) {
	for o := range os.all {
		o.answers[name] = struct{}{}
	}
}

// noteProblem stores and marks a problem. It returns 1 if the resource had none before, -1 if it has none any more, and
// 0 otherwise.
func (os *observers) noteProblem(p calc.Problem) int {
	r := resource{p.Kind, Name{p.Namespace, p.Name}}
	_, before := os.problems[r]
	if p.Reason == "" {
		delete(os.problems, r)
	} else {
		os.problems[r] = p.Reason
	}
	for o := range os.all {
		o.problems[r] = struct{}{}
	}
	return count(p.Reason != "") - count(before)
}

// serve answers the observers whose readers wait and for which there is something to report.
func (os *observers) serve() {
	for o := range os.all {
		if o.waiter != nil && (o.whole || len(o.nodes)+len(o.problems)+len(o.answers) > 0) {
			o.waiter <- o.collect(os.problems) // has room for the one answer
			o.waiter = nil
		}
	}
}

// collect returns what the marks stand for, and removes the marks.
func (o *Observer) collect(problems map[resource]string) Observed {
	seen := Observed{Whole: o.whole}
	if o.whole {
		o.markAll(problems)
	}
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(o.nodes)) {
		if s := o.store.nodes[name].newest(); s != nil {
			seen.Nodes = append(seen.Nodes, s.statusAt(now))
		} else if !o.whole {
			seen.Gone = append(seen.Gone, name)
			delete(o.sent, name)
		}
	}
	seen.Answers = o.answersOf(slices.Sorted(maps.Keys(o.answers)))
	for _, r := range slices.SortedFunc(maps.Keys(o.problems), resource.compare) {
		if reason := problems[r]; reason != "" || !o.whole {
			seen.Problems = append(seen.Problems,
				calc.Problem{Kind: r.kind, Namespace: r.Namespace, Name: r.Name.Name, Reason: reason})
		}
	}
	o.whole = false
	o.clear()
	return seen
}

// markAll marks all nodes and problems.
func (o *Observer) markAll(problems map[resource]string) {
	for name, n := range o.store.nodes {
		if len(n.sessions) > 0 {
			o.nodes[name], o.answers[name] = struct{}{}, struct{}{}
		}
	}
	for r := range problems {
		o.problems[r] = struct{}{}
	}
}

// clear removes the marks.
func (o *Observer) clear() {
	o.nodes, o.problems, o.answers = map[string]struct{}{}, map[resource]struct{}{}, map[string]struct{}{}
}

func (r resource) compare(other resource) int {
	return slices.CompareFunc([]string{r.kind, r.Namespace, r.Name.Name},
		[]string{other.kind, other.Namespace, other.Name.Name}, strings.Compare)
}
