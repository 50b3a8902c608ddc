package felix

import (
	"log/slog"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/typha/wire"
)

// startTimeout bounds two waits of a start: that for the stream, after which the agent programs the journal's state,
// and that for the node's addresses, after which it programs without them, which removes the routes of an earlier
// process.
const startTimeout = 10 * time.Second

// start decides what a node may program while the stream has not delivered everything, and keeps the journal.
type start struct {
	journal *journal.Journal
	log     *slog.Logger
	stale   prometheus.Gauge // of the metrics
	// staleReason is why the journal differs from what was delivered, as last logged.
	staleReason string

	heard       bool           // the stream has delivered something
	inSync      bool           // the stream has delivered everything
	programming bool           // the kernel is ours to change: inSync, or the journal stands in for the stream
	waiting     bool           // for the stream and the node's addresses, until startTimeout
	programmed  bool           // everything was applied once
	handed      bool           // the dataplane has been handed the whole state
	guarding    bool           // the guard has begun, and nothing else yet
	scope       boundary.Scope // of the guard
	guardStands bool           // the kernel is as the guard wants it, as far as is known
}

// timedOut ends the waits, and lets a node that cannot reach Typha go on with what it knew last.
func (s *start) timedOut() {
	s.waiting = false
	known := len(s.journal.State().Objects)
	if s.programming || known == 0 {
		return
	}
	if stale := s.journal.Stale(); stale != nil {
		// The kernel may have rules that the journal lacks. A pod that is not programmed has no network anyway.
		s.log.Error("no stream yet, and the journal is not what the last run knew: nothing of it is programmed "+
			"until there is one",
			"error", stale)
		return
	}
	s.programming = true
	s.log.Warn("no stream yet, programming what the last run knew", "objects", known)
}

// completed adds to a commit that is everything the deletion of what the journal has besides.
func (s *start) completed(c wire.Commit) wire.Commit {
	gone := maps.Clone(s.journal.State().Objects)
	for _, object := range c.Upserts {
		delete(gone, object.ID())
	}
	for id := range gone {
		c.Deletes = append(c.Deletes, id)
	}
	return c
}

// checkJournal logs when the journal becomes stale and when it is no longer stale, and sets the metric. It reports
// whether either happened.
func (s *start) checkJournal() bool {
	stale := s.journal.Stale()
	reason := ""
	if stale != nil {
		reason = stale.Error()
	}
	if reason == s.staleReason {
		return false
	}
	s.staleReason = reason
	if stale != nil {
		s.log.Error("journal is stale", "error", stale)
		s.stale.Set(1)
	} else {
		s.log.Info("journal is what was delivered again")
		s.stale.Set(0)
	}
	return true
}

// problem returns what is wrong with the journal, for the status and the report.
func (s *start) problem() []string {
	if s.staleReason == "" {
		return nil
	}
	return []string{s.staleReason + "; if this node starts without Typha, it connects no pod; " +
		"after a boot it closes its host endpoints but for the failsafe ports"}
}

// guardScope returns how the guard programs the journal's host endpoints. If the journal is stale, it only closes them,
// where no earlier process left rules.
func (s *start) guardScope() boundary.Scope {
	if s.journal.Stale() == nil {
		return boundary.Guard
	}
	return boundary.GuardUnprogrammed
}
