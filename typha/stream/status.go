package stream

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// NodeStatus is what a node that is connected says of itself, and what it was given. To observers, times go in whole
// seconds.
type NodeStatus struct {
	Node      string    `json:"node" cbor:"1,keyasint"`
	Connected time.Time `json:"connected" cbor:"2,keyasint"`
	// Commit is the last one that was handed out, Applied the last that the node's kernel enforces.
	Commit  uint64 `json:"commit" cbor:"3,keyasint,omitempty"`
	Applied uint64 `json:"applied" cbor:"4,keyasint,omitempty"`
	// BehindSeconds is how long ago the oldest commit was handed out that is not enforced; 0 if all are.
	BehindSeconds float64 `json:"behindSeconds,omitempty" cbor:"5,keyasint,omitempty"`
	// Unread is how many changed objects wait for the node to read.
	Unread int `json:"unread,omitempty" cbor:"6,keyasint,omitempty"`
	// Reported is when the node last said anything, Errors what it could not do.
	Reported time.Time `json:"reported,omitzero" cbor:"7,keyasint,omitzero"`
	Errors   []string  `json:"errors,omitempty" cbor:"8,keyasint,omitempty"`
	// Lacks are the features that this release has and the node has not. What needs one is handed out in a form
	// that closes.
	Lacks []string `json:"lacks,omitempty" cbor:"9,keyasint,omitempty"`
	// Notices are the node's messages that are not errors, but may surprise a user.
	Notices []string `json:"notices,omitempty" cbor:"10,keyasint,omitempty"`
}

// Lagging says that a commit has not been enforced for long.
func (s NodeStatus) Lagging() bool { return s.BehindSeconds > lagsAfter.Seconds() }

// sessionStatus is what a Hub notes of how a session goes.
type sessionStatus struct {
	connected time.Time
	report    wire.Report
	reported  time.Time
	lags      bool  // as observers were last to be told
	cuts      []cut // not enforced yet, oldest first, at most maxCuts: of more the newest are not kept
	grace     bool  // it has used the grace period
}

type cut struct {
	number uint64
	at     time.Time
}

const maxCuts = 16

func (s *sessionStatus) cut(number uint64) {
	if len(s.cuts) < maxCuts {
		s.cuts = append(s.cuts, cut{number, time.Now()})
	}
}

// take reports whether the report tells something new.
func (s *sessionStatus) take(r wire.Report) bool {
	before, now := s.report, time.Now()
	s.report, s.reported = r, now
	s.cuts = slices.DeleteFunc(s.cuts, func(c cut) bool { return c.number <= r.Applied })
	return s.lagChanges(now) || r.Applied != before.Applied ||
		!slices.Equal(r.Errors, before.Errors) || !slices.Equal(r.Notices, before.Notices)
}

// lagChanges notes whether the node lags, and says whether that is new.
func (s *sessionStatus) lagChanges(now time.Time) bool {
	before := s.lags
	s.lags = s.behind(now) > lagsAfter
	return s.lags != before
}

// behind returns for how long the node has had a commit that it does not enforce.
func (s *sessionStatus) behind(now time.Time) time.Duration {
	if len(s.cuts) == 0 {
		return 0
	}
	return now.Sub(s.cuts[0].at)
}

// maxErrors is how many errors and how many notices of a report are kept, maxErrorSize how many octets of each.
const (
	maxErrors    = 100
	maxErrorSize = 1000
)

// shortened returns a report with its texts cut to these limits.
func shortened(r wire.Report) wire.Report {
	for _, list := range []*[]string{&r.Errors, &r.Notices} {
		*list = slices.Clone((*list)[:min(len(*list), maxErrors)])
		for i, text := range *list {
			if len(text) > maxErrorSize {
				(*list)[i] = strings.ToValidUTF8(text[:maxErrorSize], "") + "…"
			}
		}
	}
	return r
}

// Report implements Source.
func (s *Session) Report(r wire.Report) {
	r = shortened(r)
	s.hub.post(func() {
		if s.status.take(r) {
			s.hub.statusChanged(s.node)
		}
	})
}

// Status tells of the nodes that have a session now, by name; of a node that has several in the order in which they
// were opened.
func (h *Hub) Status(ctx context.Context) ([]NodeStatus, error) {
	all := []NodeStatus{}
	err := h.call(ctx, func() {
		now := time.Now()
		for s := range h.eachSession {
			all = append(all, s.statusAt(now))
		}
	})
	slices.SortStableFunc(all, func(a, b NodeStatus) int { return cmp.Compare(a.Node, b.Node) })
	return all, err
}

func (s *Session) statusAt(now time.Time) NodeStatus {
	return NodeStatus{Node: s.node.name, Connected: s.status.connected, Commit: s.number, Applied: s.status.report.Applied,
		Unread: len(s.dirty), Reported: s.status.reported, Errors: s.status.report.Errors,
		Notices: s.status.report.Notices, Lacks: s.lacks.Names(),
		BehindSeconds: s.status.behind(now).Seconds()}
}

func (h *Hub) eachSession(yield func(*Session) bool) {
	for _, n := range h.nodes {
		for _, s := range n.sessions {
			if !yield(s) {
				return
			}
		}
	}
}

// lagsAfter is for how long a node may have a commit before it counts as lagging when it does not enforce it.
const lagsAfter = 10 * time.Second

// inspect counts how the sessions go, and ends those that have not read for too long.
func (h *Hub) inspect() {
	now := time.Now()
	sessions, lagging, unread, failing, downgraded := 0, 0, 0, 0, 0
	for s := range h.eachSession {
		sessions++
		if s.status.lagChanges(now) {
			h.statusChanged(s.node)
		}
		lagging += count(s.status.lags)
		unread += count(len(s.dirty) > 0 && now.Sub(s.dirtySince) > lagsAfter)
		failing += count(len(s.status.report.Errors) > 0)
		downgraded += count(s.lacks != 0)
		if s.drops && len(s.dirty) > 0 && now.Sub(s.dirtySince) > h.opts.MaxFallBehind {
			h.fellBehind(s, now)
		}
	}
	h.metrics.nodes.Set(float64(sessions))
	h.metrics.lagging.Set(float64(lagging))
	h.metrics.unread.Set(float64(unread))
	h.metrics.failing.Set(float64(failing))
	h.metrics.downgraded.Set(float64(downgraded))
}

func (h *Hub) fellBehind(s *Session, now time.Time) {
	if s.why != nil {
		return // its stream is about to close it
	}
	if now.Sub(s.status.connected) < h.opts.GracePeriod {
		if !s.status.grace {
			s.status.grace = true
			h.metrics.grace.Inc()
		}
		return
	}
	s.end(ErrSlow)
}
