package sync

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/typha/hub"
)

// gate stops the loops while the ClusterInformation says datastoreReady: false, and until it has been read. The loop of
// ClusterInformations never stops. A loop that stops ends its watch, so that no events accumulate, and later goes on at
// the revision that it had reached. A nil gate is open. The methods are for any goroutine.
type gate struct {
	log *slog.Logger

	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open; set closes or replaces it, wait reads it
	shut   bool
}

// errHeld is returned to a loop that has to wait at the gate.
var errHeld = errors.New("the datastore is not ready: ClusterInformation default says datastoreReady: false")

func newGate(kinds []datastore.Kind, log *slog.Logger) *gate {
	if !slices.Contains(kinds, datastore.ClusterInformations) {
		return nil
	}
	return &gate{log: log, opened: make(chan struct{}), shut: true}
}

// wait waits until objects of a kind may be handed on.
func (g *gate) wait(ctx context.Context, kind datastore.Kind) error {
	if g == nil || kind == datastore.ClusterInformations {
		return nil
	}
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check returns errHeld for a kind that has to wait.
func (g *gate) check(kind datastore.Kind) error {
	if g == nil || kind == datastore.ClusterInformations {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return errHeld
	}
	return nil
}

// see opens or closes the gate if the update is of ClusterInformations. Without an object named default, or with one
// that cannot be read, the gate is open.
func (g *gate) see(u hub.Update) {
	if g == nil || u.Kind != datastore.ClusterInformations.ID() {
		return
	}
	ready, known := true, u.Listed
	for _, o := range u.Upserts {
		if o.GetName() == v3.ClusterInformationName {
			info, is := o.(*v3.ClusterInformation)
			ready, known = !is || info.Spec.IsDatastoreReady(), true
		}
	}
	name := hub.Name{Name: v3.ClusterInformationName}
	_, refused := u.Refused[name]
	if known || refused || slices.Contains(u.Deletes, name) {
		g.set(ready)
	}
}

func (g *gate) set(ready bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	isOpen := false
	select {
	case <-g.opened:
		isOpen = true
	default:
	}
	g.shut = !ready
	switch {
	case ready && !isOpen:
		close(g.opened)
		g.log.Info("the datastore is ready")
	case !ready && isOpen:
		g.opened = make(chan struct{})
		fallthrough
	case !ready:
		g.log.Warn("nothing is handed on to the nodes, which keep what they have", "reason", errHeld)
	}
}
