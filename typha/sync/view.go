package sync

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/maneki-net/maneki/datastore"
)

// View reads kinds for one Sink, and knows how old what it has handed on may be.
//
// A kind is as new as the last list of it was when that began; while it is watched, as the datastore was last heard of:
// an event of any watch, a bookmark among them, or a list. A watch alone proves nothing, since one that silently broke,
// or that of an API server which lost its etcd, stays open and tells nothing; and not every kind has bookmarks every
// minute: where etcd seldom says how far it is, a kind that does not change has none. So the datastore is asked when it
// has been silent.
//
// While the ClusterInformation says datastoreReady: false, it hands on nothing but that.
//
// The methods are for any goroutine. It is a prometheus.Collector.
type View struct {
	kinds []datastore.Kind

	mu    sync.Mutex
	heard time.Time // the datastore was heard of
	ages  map[datastore.Kind]*age
}

// age is how new a kind is.
type age struct {
	fresh  time.Time // nothing was missing then
	opened time.Time // the kind has been watched since; zero if it is not
}

// StaleAfter is after how long in which the datastore is not heard of, or a kind not known to be complete, a View
// counts as stale.
const StaleAfter = 2 * time.Minute

const (
	// askEvery is how long the datastore may be silent before it is asked.
	askEvery = 20 * time.Second
	// answerWithin bounds the answer.
	answerWithin = 10 * time.Second
)

// asked is the kind that is listed to hear of the datastore: each has it, and there are few objects of it.
var asked = datastore.Tiers

// NewView makes a View that has seen nothing. Until it has, everything is as old as the View.
func NewView(kinds []datastore.Kind) *View {
	now := time.Now()
	v := &View{kinds: kinds, heard: now, ages: map[datastore.Kind]*age{}}
	for _, k := range kinds {
		v.ages[k] = &age{fresh: now}
	}
	return v
}

// Kinds are the kinds that are read.
func (v *View) Kinds() []datastore.Kind { return v.kinds }

// Run is the function Run for the View's kinds. Call it once.
func (v *View) Run(ctx context.Context, store datastore.Store, sink Sink, log *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return read(ctx, store, v.kinds, target{sink: sink, view: v, gate: newGate(v.kinds, log), log: log})
	})
	g.Go(func() error { return v.look(ctx, store, log) })
	return g.Wait()
}

// Silence is how long ago the datastore was last heard of.
func (v *View) Silence() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Since(v.heard)
}

// Behind gives, by the ID of each kind, how long ago it was last certain that no change was missing.
func (v *View) Behind() map[string]time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	now, all := time.Now(), map[string]time.Duration{}
	for kind, a := range v.ages {
		all[kind.ID()] = now.Sub(a.at(v.heard))
	}
	return all
}

// Stale returns the IDs of the kinds that have been behind for longer than StaleAfter, and the longest time.
func Stale(behind map[string]time.Duration) (kinds []string, longest time.Duration) {
	for kind, d := range behind {
		if d > StaleAfter {
			kinds, longest = append(kinds, kind), max(longest, d)
		}
	}
	slices.Sort(kinds)
	return kinds, longest
}

// at is when nothing was missing, if the datastore was last heard of at a time. What is heard after a watch began was
// said with it in place.
func (a *age) at(heard time.Time) time.Time {
	if !a.opened.IsZero() && heard.After(a.opened) {
		return heard
	}
	return a.fresh
}

// hear notes that the datastore answered what it was asked at a time. A nil View notes nothing, as in what follows.
func (v *View) hear(at time.Time) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if at.After(v.heard) {
		v.heard = at
	}
}

// listed notes a list that began at a time.
func (v *View) listed(kind datastore.Kind, at time.Time) {
	if v == nil {
		return
	}
	v.hear(at)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ages[kind].fresh = at
}

// watched notes that the watch of a kind begins or ends.
func (v *View) watched(kind datastore.Kind, on bool) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.ages[kind]
	a.fresh = a.at(v.heard)
	a.opened = time.Time{}
	if on {
		a.opened = time.Now()
	}
}

// look asks the datastore when it is silent, and logs when the View becomes stale and when it ceases to be, until ctx
// ends.
func (v *View) look(ctx context.Context, store datastore.Store, log *slog.Logger) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for was := false; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if v.Silence() >= askEvery || v.unsure() {
			v.ask(ctx, store)
		}
		stale, longest := Stale(v.Behind())
		switch {
		case len(stale) > 0 && !was:
			log.Warn("what is known of the datastore may be old; nodes keep what they have", "behind", longest.Round(time.Second), "kinds", stale)
		case len(stale) == 0 && was:
			log.Info("what is known of the datastore is up to date again")
		}
		was = len(stale) > 0
	}
}

// unsure reports whether a watch began after the datastore was last heard of.
func (v *View) unsure() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Values(v.ages)), func(a *age) bool { return a.opened.After(v.heard) })
}

// ask hears of the datastore, if that answers. An answer that refuses is one, too.
func (v *View) ask(ctx context.Context, store datastore.Store) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	began := time.Now()
	_, err := store.List(ctx, asked, datastore.ListOptions{})
	if ctx.Err() != nil || errors.Is(err, datastore.ErrUnavailable) && !errors.Is(err, datastore.ErrNoKind) {
		return
	}
	v.hear(began)
}

var behind = prometheus.NewDesc("typha_datastore_behind_seconds",
	"Seconds since it was last certain that no change of the kind is missing; below 60 while the datastore answers.", []string{"kind"}, nil)

// Describe implements prometheus.Collector.
func (v *View) Describe(descs chan<- *prometheus.Desc) { descs <- behind }

// Collect implements prometheus.Collector.
func (v *View) Collect(metrics chan<- prometheus.Metric) {
	for kind, d := range v.Behind() {
		metrics <- prometheus.MustNewConstMetric(behind, prometheus.GaugeValue, d.Seconds(), kind)
	}
}
