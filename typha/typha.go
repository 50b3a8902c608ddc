// Package typha composes the parts of Typha that need no network to the nodes: the readers of the datastore (sync), and
// the engine with the distribution of its results (hub).
//
// Typha's process adds a transport.Server. A Felix without Typha runs a Local in its own process, and reads it through
// the same hub.Source. The package owns no state of its own.
package typha

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/sync"
)

// LocalOptions configure a Local.
type LocalOptions struct {
	Store   datastore.Store
	View    *sync.View   // of the kinds that are read; nil is one of sync.KubernetesKinds
	Logger  *slog.Logger // nil discards
	Metrics *hub.Metrics // nil is a set of its own that nobody reads
	// MaxFallBehind and GracePeriod as in hub.Options.
	MaxFallBehind, GracePeriod time.Duration
	Budget                     compile.Budget // what policies may take
}

// Local is everything between the datastore and the nodes, in one process.
type Local struct {
	opts LocalOptions
	hub  *hub.Hub
}

// NewLocal makes a Local. It does nothing before Run.
func NewLocal(opts LocalOptions) *Local {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.View == nil {
		opts.View = sync.NewView(sync.KubernetesKinds())
	}
	return &Local{opts: opts, hub: hub.New(hub.Options{
		Kinds: sync.Names(opts.View.Kinds()), Logger: opts.Logger, Metrics: opts.Metrics,
		MaxFallBehind: opts.MaxFallBehind, GracePeriod: opts.GracePeriod, Budget: opts.Budget,
	})}
}

// Run reads the datastore and computes until ctx ends. Call it once.
func (l *Local) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.hub.Run(ctx) })
	g.Go(func() error { return l.opts.View.Run(ctx, l.opts.Store, l.hub, l.opts.Logger) })
	return g.Wait()
}

// Source returns a node's commits. It may be called before Run.
func (l *Local) Source(node string) hub.Source { return l.hub.Source(node) }

// Hub returns the hub, for a server.
func (l *Local) Hub() *hub.Hub { return l.hub }
