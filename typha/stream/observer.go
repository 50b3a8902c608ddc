package stream

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// observer is a reader of what a Hub knows of its nodes and of the resources that cannot be used. Like a Session it has
// a mark for each that changed since it last asked, never a queue.
type observer struct {
	hub *Hub

	// The rest is owned by the Hub's goroutine.
	waiter   chan<- Observed // where the next answer goes, if the reader waits
	whole    bool            // nothing was told yet: everything is to be
	nodes    map[string]struct{}
	problems map[resource]struct{}
	answers  map[string]struct{}
	sent     map[string]*wire.StatusAnswer // by node, what the reader has
}

// maxObservers is how many observers a Hub may have, because each change is sent to all of them. The leader of
// kube-controllers is one.
const maxObservers = 16

var errManyObservers = status.Errorf(codes.ResourceExhausted, "%d others observe already", maxObservers)

// resource names one among those of all kinds.
type resource struct {
	kind string
	Name
}

// observe makes an observer once the Hub is in sync. Close it after use.
func (h *Hub) observe(ctx context.Context) (*observer, error) {
	if err := h.whenInSync(ctx); err != nil {
		return nil, err
	}
	o := &observer{hub: h, whole: true, nodes: map[string]struct{}{}, problems: map[resource]struct{}{},
		answers: map[string]struct{}{}, sent: map[string]*wire.StatusAnswer{}}
	var full bool
	err := h.call(ctx, func() {
		if full = len(h.observers) >= maxObservers; !full {
			h.observers[o] = struct{}{}
		}
	})
	if err == nil && full {
		err = errManyObservers
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// close ends the observer.
func (o *observer) close() {
	o.hub.post(func() { delete(o.hub.observers, o) })
}

// next waits until there is something to tell, and gives it. Once it has failed it is not to be called again.
func (o *observer) next(ctx context.Context) (Observed, error) {
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

// statusChanged notes for the observers that the status of a node changed.
func (h *Hub) statusChanged(n *node) {
	for o := range h.observers {
		o.nodes[n.name] = struct{}{}
	}
}

// keepProblem keeps a problem for the observers, and reports whether the resource could be used before and cannot now, or
// the reverse.
func (h *Hub) keepProblem(v calc.Problem) (turned bool) {
	r := resource{v.Kind, Name{v.Namespace, v.Name}}
	_, before := h.problems[r]
	if v.Reason == "" {
		delete(h.problems, r)
	} else {
		h.problems[r] = v.Reason
	}
	for o := range h.observers {
		o.problems[r] = struct{}{}
	}
	return before != (v.Reason != "")
}

// tell answers the observers that wait and for which there is something.
func (h *Hub) tell() {
	for o := range h.observers {
		if o.waiter != nil && (o.whole || len(o.nodes)+len(o.problems)+len(o.answers) > 0) {
			o.waiter <- o.take() // has room for the one answer
			o.waiter = nil
		}
	}
}

// take returns what the marks amount to, and clears them.
func (o *observer) take() Observed {
	h, now := o.hub, time.Now()
	seen := Observed{Whole: o.whole}
	if o.whole {
		for name, n := range h.nodes {
			if len(n.sessions) > 0 {
				o.nodes[name], o.answers[name] = struct{}{}, struct{}{}
			}
		}
		for r := range h.problems {
			o.problems[r] = struct{}{}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.nodes)) {
		if s := h.nodes[name].newest(); s != nil {
			seen.Nodes = append(seen.Nodes, s.statusAt(now))
		} else if !o.whole {
			seen.Gone = append(seen.Gone, name)
			delete(o.sent, name)
		}
	}
	seen.Answers = o.answersOf(slices.Sorted(maps.Keys(o.answers)))
	for _, r := range slices.SortedFunc(maps.Keys(o.problems), resource.compare) {
		if reason := h.problems[r]; reason != "" || !o.whole {
			seen.Problems = append(seen.Problems, calc.Problem{Kind: r.kind, Namespace: r.Namespace, Name: r.Name.Name, Reason: reason})
		}
	}
	o.whole, o.nodes, o.problems, o.answers = false, map[string]struct{}{}, map[resource]struct{}{}, map[string]struct{}{}
	return seen
}

func (r resource) compare(other resource) int {
	return slices.CompareFunc([]string{r.kind, r.Namespace, r.Name.Name}, []string{other.kind, other.Namespace, other.Name.Name}, strings.Compare)
}

// newest returns the session of a node that was opened last; nil if it has none.
func (n *node) newest() *Session {
	if n == nil || len(n.sessions) == 0 {
		return nil
	}
	return n.sessions[len(n.sessions)-1]
}
