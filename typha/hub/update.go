package hub

import (
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
)

// Update is a batch of changes of one kind of resource.
type Update struct {
	Kind    string
	Upserts []metav1.Object
	Deletes []Name
	// Refused are objects that exist and cannot be read, with the reasons.
	Refused map[Name]string
	// Changed is the resource version of the newest change in the batch; empty if the batch has none.
	Changed string
	// Seen is the resource version up to which the reader has certainly seen every change.
	Seen string
	// Listed reports whether all objects of the kind have been delivered once, including this batch.
	Listed bool
	// Datastore identifies the datastore; empty if the batch does not tell.
	Datastore string
}

// Name names a resource within its kind.
type Name struct{ Namespace, Name string }

// input is the engine and what it has received. It is owned by the goroutine of Hub.Run, except engine.Progress.
type input struct {
	log      *slog.Logger
	metrics  *Metrics
	progress *atomic.Uint64 // the Hub's

	engine    *calc.Engine
	missing   map[string]struct{} // kinds that have not been listed
	versions  versions
	applied   map[string]string // versions.changed as of the last step; replaced, never changed
	datastore string            // of the versions; empty while that is not known
	dirty     bool              // the engine has something to compute
	received  int               // resources since the last step
}

func newInput(opts Options, progress *atomic.Uint64) input {
	in := input{log: opts.Logger, metrics: opts.Metrics, progress: progress, engine: calc.NewWithin(opts.Budget),
		missing: map[string]struct{}{}, versions: newVersions()}
	for _, kind := range opts.Kinds {
		in.missing[kind] = struct{}{}
	}
	return in
}

// update hands a batch to the engine.
func (in *input) update(u Update) {
	began := time.Now()
	for _, o := range u.Upserts {
		in.engine.Upsert(o)
		in.progress.Add(1)
	}
	for _, n := range u.Deletes {
		in.engine.Delete(u.Kind, n.Namespace, n.Name)
	}
	for n, reason := range u.Refused {
		in.engine.Refuse(u.Kind, n.Namespace, n.Name, reason)
	}
	in.note(u)
	n := len(u.Upserts) + len(u.Deletes) + len(u.Refused)
	in.received += n
	in.metrics.received(u.Kind, n, time.Since(began))
}

// note notes what a batch says besides its objects.
func (in *input) note(u Update) {
	in.versions.changed.raise(u.Kind, u.Changed)
	in.versions.seen.raise(u.Kind, u.Seen)
	if u.Datastore != "" {
		in.datastore = u.Datastore
	}
	if u.Listed {
		delete(in.missing, u.Kind)
	}
	in.dirty = true
}

// ready reports whether there is something to compute, and nothing missing that the result depends on.
func (in *input) ready() bool { return in.dirty && len(in.missing) == 0 }

// step computes for the given number of steps at most. It returns what changed, and the number of resources received
// since the last step.
func (in *input) step(steps int) (delta calc.Delta, received int) {
	began := time.Now()
	delta, in.dirty = in.engine.Step(steps)
	if !maps.Equal(in.applied, in.versions.changed) {
		in.applied = in.versions.changedNow()
	}
	received, in.received = in.received, 0
	in.metrics.calc.stepped(&delta, in.engine.Stats(), time.Since(began))
	return delta, received
}

// covers returns an error if a node would go back in time. What the node has applied of another datastore does not
// count, because resource versions of two datastores cannot be compared: no replica would ever reach it.
func (in *input) covers(hello Hello) error {
	if hello.Datastore != "" && in.datastore != "" && hello.Datastore != in.datastore {
		in.log.Info("the node has applied the state of another datastore",
			"node", hello.Node, "applied", hello.Datastore, "here", in.datastore)
		return nil
	}
	if err := in.versions.covers(hello.Applied); err != nil {
		return fmt.Errorf("connect node %s: %w: %w", hello.Node, ErrBehind, err)
	}
	return nil
}
