package hub

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// NodeStatus is what a connected node reports of itself, and what it was given. Observers over the network get times in
// whole seconds.
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
	// Reported is when the node last reported, Errors what it could not do.
	Reported time.Time `json:"reported,omitzero" cbor:"7,keyasint,omitzero"`
	Errors   []string  `json:"errors,omitempty" cbor:"8,keyasint,omitempty"`
	// Lacks are the features that this release has and the node has not. An object that needs one is handed out in a
	// form that denies what the node cannot express.
	Lacks []string `json:"lacks,omitempty" cbor:"9,keyasint,omitempty"`
	// Notices are the node's messages that are not errors, but may surprise a user.
	Notices []string `json:"notices,omitempty" cbor:"10,keyasint,omitempty"`
}

// lagsAfter is how long a node may take to enforce a commit before it counts as lagging.
const lagsAfter = 10 * time.Second

// Lagging reports whether the node has not enforced a commit for long.
func (s NodeStatus) Lagging() bool { return s.BehindSeconds > lagsAfter.Seconds() }

// sessionStatus is how a session's node keeps up. It is owned by the goroutine of Hub.Run.
type sessionStatus struct {
	report    wire.Report
	reported  time.Time
	lags      bool         // as of the last call of updateLag
	unapplied []sentCommit // oldest first, at most maxUnapplied; newer ones are not remembered
	grace     bool         // the session has used the grace period
}

type sentCommit struct {
	number uint64
	at     time.Time
}

const maxUnapplied = 16

// sent notes that a commit was handed out.
func (s *sessionStatus) sent(number uint64) {
	if len(s.unapplied) < maxUnapplied {
		s.unapplied = append(s.unapplied, sentCommit{number, time.Now()})
	}
}

// update stores a report, and reports whether it says something new.
func (s *sessionStatus) update(r wire.Report) bool {
	before, now := s.report, time.Now()
	s.report, s.reported = r, now
	s.unapplied = slices.DeleteFunc(s.unapplied, func(c sentCommit) bool { return c.number <= r.Applied })
	return s.updateLag(now) || r.Applied != before.Applied ||
		!slices.Equal(r.Errors, before.Errors) || !slices.Equal(r.Notices, before.Notices)
}

// updateLag updates lags, and reports whether it changed.
func (s *sessionStatus) updateLag(now time.Time) bool {
	before := s.lags
	s.lags = s.behind(now) > lagsAfter
	return s.lags != before
}

// behind returns for how long the node has had a commit that it does not enforce.
func (s *sessionStatus) behind(now time.Time) time.Duration {
	if len(s.unapplied) == 0 {
		return 0
	}
	return now.Sub(s.unapplied[0].at)
}

// Report implements Source.
func (s *Session) Report(r wire.Report) {
	r = r.Shortened()
	s.hub.post(func() {
		news := s.status.update(r)
		if news {
			s.hub.observers.nodeChanged(s.node.name)
		}
	})
}

// Status returns the status of the nodes that have a session, by name; of a node that has several, in the order in
// which they were opened.
func (h *Hub) Status(ctx context.Context) ([]NodeStatus, error) {
	all := []NodeStatus{}
	err := h.call(ctx, func() {
		now := time.Now()
		for s := range h.store.eachSession {
			all = append(all, s.statusAt(now))
		}
	})
	slices.SortStableFunc(all, func(a, b NodeStatus) int { return cmp.Compare(a.Node, b.Node) })
	return all, err
}

func (s *Session) statusAt(now time.Time) NodeStatus {
	return NodeStatus{Node: s.node.name, Connected: s.opened, Commit: s.number, Applied: s.status.report.Applied,
		Unread: len(s.pending.dirty), Reported: s.status.reported, Errors: s.status.report.Errors,
		Notices: s.status.report.Notices, Lacks: s.lacks.Names(),
		BehindSeconds: s.status.behind(now).Seconds()}
}

// inspect counts sessions by how they keep up, and ends those whose nodes read too slowly.
func (h *Hub) inspect() {
	now := time.Now()
	var counts sessionCounts
	for s := range h.store.eachSession {
		changed := s.status.updateLag(now)
		if changed {
			h.observers.nodeChanged(s.node.name)
		}
		counts.add(s, now)
		if s.mayEnd && s.pending.overdue(now, h.opts.MaxFallBehind) {
			h.endSlow(s, now)
		}
	}
	h.opts.Metrics.sessions.set(counts)
}

// sessionCounts are numbers of sessions.
type sessionCounts struct{ all, lagging, unread, failing, downgraded int }

func (c *sessionCounts) add(s *Session, now time.Time) {
	c.all++
	c.lagging += count(s.status.lags)
	c.unread += count(s.pending.overdue(now, lagsAfter))
	c.failing += count(len(s.status.report.Errors) > 0)
	c.downgraded += count(s.lacks != 0)
}

// endSlow ends a session, unless it is in its grace period.
func (h *Hub) endSlow(s *Session, now time.Time) {
	if s.why != nil {
		return // its reader is about to close it
	}
	if now.Sub(s.opened) >= h.opts.GracePeriod {
		s.end(ErrSlow)
		return
	}
	if !s.status.grace {
		s.status.grace = true
		h.opts.Metrics.sessions.grace.Inc()
	}
}
