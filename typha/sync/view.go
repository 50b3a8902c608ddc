package sync

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/maneki-net/maneki/datastore"
)

// View reads kinds for one Sink, and knows how old the state may be that the Sink has.
//
// The state of a kind is as new as the begin of its last list. While the kind is watched, it is as new as the latest
// sign of life of the datastore: an event of any watch, which may be a bookmark, or a list. An open watch proves
// nothing: it stays open if the connection broke silently, or if the API server lost its etcd. Bookmarks do not come
// every minute for every kind. The View therefore sends a request when the datastore has been silent.
//
// While the ClusterInformation says datastoreReady: false, the View hands on nothing but that.
//
// View implements prometheus.Collector. The methods are for any goroutine.
type View struct {
	kinds []datastore.Kind

	mu    sync.Mutex
	heard time.Time // the latest sign of life of the datastore
	ages  map[datastore.Kind]*age
}

// age is how new the state of a kind is.
type age struct {
	fresh  time.Time // no change was missing at this time
	opened time.Time // when the watch of the kind began; zero if there is none
}

// StaleAfter is how long the datastore may be silent, or changes of a kind may be missing, before a View counts as
// stale.
const StaleAfter = 2 * time.Minute

const (
	// probeAfter is how long the datastore may be silent before the View sends a request.
	probeAfter = 20 * time.Second
	// probeTimeout bounds the request.
	probeTimeout = 10 * time.Second
)

// probed is the kind that the request lists. Every datastore has it, with few objects.
var probed = datastore.Tiers

// NewView returns a View that has read nothing. Until it has, the state of every kind is as old as the View.
func NewView(kinds []datastore.Kind) *View {
	now := time.Now()
	v := &View{kinds: kinds, heard: now, ages: map[datastore.Kind]*age{}}
	for _, k := range kinds {
		v.ages[k] = &age{fresh: now}
	}
	return v
}

// Kinds returns the kinds that are read.
func (v *View) Kinds() []datastore.Kind { return v.kinds }

// Run reads the View's kinds as the function Run does. Call it once.
func (v *View) Run(ctx context.Context, store datastore.Store, sink Sink, log *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return read(ctx, store, v.kinds, target{sink: sink, view: v, gate: newGate(v.kinds, log), log: log})
	})
	g.Go(func() error { return v.inspect(ctx, store, log) })
	return g.Wait()
}

// Silence returns how long ago the latest sign of life of the datastore was.
func (v *View) Silence() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Since(v.heard)
}

// Behind returns, by the ID of each kind, how long ago it was last certain that no change was missing.
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

// at returns when no change was missing, given the latest sign of life of the datastore. A sign of life after the watch
// began proves that the watch has delivered everything.
func (a *age) at(heard time.Time) time.Time {
	if !a.opened.IsZero() && heard.After(a.opened) {
		return heard
	}
	return a.fresh
}

// hear notes a sign of life: an event, or the answer to a request that began at this time. The View may be nil here and
// in the methods below.
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

// inspect probes the datastore when it is silent, and logs when the View becomes stale or fresh again, until ctx ends.
func (v *View) inspect(ctx context.Context, store datastore.Store, log *slog.Logger) error {
	tick := time.NewTicker(probeAfter)
	defer tick.Stop()
	for was := false; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if v.Silence() >= probeAfter || v.unsure() {
			v.probe(ctx, store)
		}
		stale, longest := Stale(v.Behind())
		switch {
		case len(stale) > 0 && !was:
			log.Warn("the state of the datastore may be old; nodes keep what they have",
				"behind", longest.Round(time.Second), "kinds", stale)
		case len(stale) == 0 && was:
			log.Info("the state of the datastore is up to date again")
		}
		was = len(stale) > 0
	}
}

// unsure reports whether a watch began after the latest sign of life.
func (v *View) unsure() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range v.ages {
		if a.opened.After(v.heard) {
			return true
		}
	}
	return false
}

// probe sends a request to the datastore, and notes the answer. A refusal is an answer, too.
func (v *View) probe(ctx context.Context, store datastore.Store) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	began := time.Now()
	_, err := store.List(ctx, probed, datastore.ListOptions{})
	if ctx.Err() != nil || errors.Is(err, datastore.ErrUnavailable) && !errors.Is(err, datastore.ErrNoKind) {
		return
	}
	v.hear(began)
}

var behind = prometheus.NewDesc("typha_datastore_behind_seconds",
	"Seconds since it was last certain that no change of the kind is missing; below 60 while the datastore answers.",
	[]string{"kind"}, nil)

// Describe implements prometheus.Collector.
func (v *View) Describe(descs chan<- *prometheus.Desc) { descs <- behind }

// Collect implements prometheus.Collector.
func (v *View) Collect(metrics chan<- prometheus.Metric) {
	for kind, d := range v.Behind() {
		metrics <- prometheus.MustNewConstMetric(behind, prometheus.GaugeValue, d.Seconds(), kind)
	}
}
