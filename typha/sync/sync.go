// Package sync reads the resources that the engine needs from the datastore, and hands them to a Sink, in order.
//
// One loop runs for each kind, on a goroutine of its own: it lists, watches from the list's revision, and lists again
// when the revision has expired. It trims objects to the fields that the engine reads. It retries what fails, and never
// deletes an object because the datastore is out of reach. An object that cannot be decoded is handed on as refused.
// The package knows nothing of what resources mean, and nothing of nodes.
//
// Run runs the loops. A View runs them too, and knows how old the state may be that they have handed on.
//
// A cluster may lack the CRD of an optional kind. If it is certain that there is no CRD, the kind has no objects as of
// the revision at which that was read (see datastore.Store). The loop checks again regularly. It finds a CRD that is
// added later, and otherwise the state gets newer. If the API server does not serve the kind although the CRD may
// exist, or refuses the question, the kind counts as out of reach: known objects stay, and a new replica waits.
package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/typha/hub"
)

// Sink receives the changes. hub.Hub implements it.
type Sink interface {
	Update(context.Context, hub.Update) error
}

// calicoKinds are read of every datastore.
var calicoKinds = []datastore.Kind{
	datastore.Tiers, datastore.CalicoNetworkPolicies, datastore.GlobalNetworkPolicies,
	datastore.StagedNetworkPolicies, datastore.StagedGlobalNetworkPolicies, datastore.StagedKubernetesNetworkPolicies,
	datastore.NetworkSets, datastore.GlobalNetworkSets, datastore.HostEndpoints,
	datastore.IPPools, datastore.IPAMBlocks, datastore.IPAMConfigurations, datastore.IPReservations,
	datastore.BGPConfigurations, datastore.BGPFilters, datastore.BGPPeers, datastore.FelixConfigurations,
	datastore.ClusterInformations,
}

// KubernetesKinds are the kinds that are read of a cluster.
func KubernetesKinds() []datastore.Kind {
	return append([]datastore.Kind{
		datastore.Namespaces, datastore.ServiceAccounts, datastore.Nodes, datastore.Pods, datastore.EndpointSlices,
		datastore.NetworkPolicies, datastore.ClusterNetworkPolicies,
	}, calicoKinds...)
}

// EtcdKinds are the kinds that are read of an etcd, which has workloads, nodes and profiles in a form of its own.
func EtcdKinds() []datastore.Kind {
	return append([]datastore.Kind{
		datastore.Profiles, datastore.CalicoNodes, datastore.WorkloadEndpoints}, calicoKinds...)
}

// Names are the IDs of kinds, as a Hub knows them.
func Names(kinds []datastore.Kind) []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.ID())
	}
	return names
}

// Run reads the kinds until ctx ends, and returns its error, or the sink's, or one that says that the datastore was
// replaced.
func Run(ctx context.Context, store datastore.Store, kinds []datastore.Kind, sink Sink, log *slog.Logger) error {
	return read(ctx, store, kinds, target{sink: sink, log: log})
}

// target is where what is read goes.
type target struct {
	sink Sink
	view *View // nil: nobody asks
	gate *gate
	log  *slog.Logger
}

func read(ctx context.Context, store datastore.Store, kinds []datastore.Kind, to target) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, kind := range kinds {
		l := loop{store: store, sink: to.sink, kind: kind, view: to.view, gate: to.gate,
			log: to.log.With("kind", kind.String()), known: map[datastore.Key]struct{}{}}
		g.Go(func() error { return l.run(ctx) })
	}
	return g.Wait()
}

// The waits after failures double from the first to the last, with jitter. The last is short: the nodes get
// no policy before the slowest kind is read, and few processes ask.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 2 * time.Second
	// lastListed is the last where a list works and the watch after it does not last: everything is known then, if
	// late, and lists cost much.
	lastListed = 30 * time.Second
	// lived is how long a watch has to last for the waits to begin anew.
	lived = 10 * time.Second
	// absentBackoff is how long to wait before looking for a CRD again.
	absentBackoff = 20 * time.Second
)

// loop follows one kind.
type loop struct {
	store datastore.Store
	sink  Sink
	kind  datastore.Kind
	view  *View // nil: nobody asks
	gate  *gate
	log   *slog.Logger
	known map[datastore.Key]struct{} // what the sink has
	// identity is that of the datastore, once an object of the kind told it.
	identity string
}

// errSink marks errors that retrying cannot mend.
var errSink = errors.New("hand on changes")

func (l *loop) run(ctx context.Context) error {
	backoff, revision := firstBackoff, ""
	complaint := "" // what the log has of this outage
	for {
		if err := l.gate.wait(ctx, l.kind); err != nil {
			return err
		}
		listed := false
		next, err := revision, error(nil)
		if revision == "" {
			next, err = l.list(ctx)
			listed = err == nil
		}
		if err == nil {
			began := time.Now()
			next, err = l.watch(ctx, next)
			if time.Since(began) >= lived {
				backoff, complaint = firstBackoff, ""
			}
		}
		revision = next
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errSink), errors.Is(err, errAnother):
			return err
		case errors.Is(err, errHeld):
			continue
		case l.kind.Optional && revision != "" && errors.Is(err, datastore.ErrNoKind):
			revision = "" // whether the kind is gone, the list says
			if listed && len(l.known) == 0 {
				backoff = absentBackoff
			}
		case errors.Is(err, datastore.ErrExpired):
			l.log.Info("revision expired, listing again")
			revision = ""
		case err.Error() != complaint:
			complaint = err.Error()
			l.log.Warn("datastore out of reach, retrying", "error", err)
		}
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
			return ctx.Err()
		}
		backoff *= 2
		if listed {
			backoff = min(backoff, lastListed)
		} else {
			backoff = min(backoff, lastBackoff)
		}
	}
}

// list hands on everything there is, and deletes what is gone. It gives the revision to watch from.
func (l *loop) list(ctx context.Context) (string, error) {
	began := time.Now()
	list, err := l.store.List(ctx, l.kind, datastore.ListOptions{})
	if err != nil {
		return "", err // it names the kind
	}
	if err := l.gate.check(l.kind); err != nil {
		return "", err
	}
	u := hub.Update{Kind: l.kind.ID(), Seen: list.Revision, Listed: true}
	gone := l.known
	l.known = make(map[datastore.Key]struct{}, len(list.Items))
	for _, item := range list.Items {
		key := datastore.KeyOf(item)
		l.known[key] = struct{}{}
		delete(gone, key)
		u.Upserts = append(u.Upserts, trim(item))
		u.Changed = newer(u.Changed, item.GetResourceVersion())
	}
	for _, unusable := range list.Unusable {
		l.known[unusable.Key] = struct{}{}
		delete(gone, unusable.Key)
		u.Refused = refuse(u.Refused, unusable.Key, unusable.Err)
	}
	for key := range gone {
		u.Deletes = append(u.Deletes, hub.Name{Namespace: key.Namespace, Name: key.Name})
		u.Changed = list.Revision // when exactly is not known
	}
	l.log.Debug("listed", "objects", len(list.Items), "revision", list.Revision)
	if err := l.hand(ctx, u); err != nil {
		return "", err
	}
	l.view.listed(l.kind, began)
	return list.Revision, nil
}

// watch hands on changes until the watch ends, and gives the revision reached.
func (l *loop) watch(ctx context.Context, revision string) (string, error) {
	w, err := l.store.Watch(ctx, l.kind, revision, datastore.ListOptions{})
	if err != nil {
		return revision, err // it names the kind
	}
	defer w.Stop()
	l.view.watched(l.kind, true)
	defer l.view.watched(l.kind, false)
	for {
		event, err := w.Next(ctx)
		if err == nil {
			err = l.gate.check(l.kind)
		}
		if err != nil {
			return revision, err
		}
		if err := l.hand(ctx, l.updateOf(event)); err != nil {
			return revision, err
		}
		l.view.hear(time.Now())
		revision = event.Revision
	}
}

func (l *loop) updateOf(event datastore.Event) hub.Update {
	u := hub.Update{Kind: l.kind.ID(), Seen: event.Revision}
	switch event.Type {
	case datastore.Added, datastore.Modified:
		l.known[datastore.KeyOf(event.Object)] = struct{}{}
		u.Upserts = []metav1.Object{trim(event.Object)}
		u.Changed = event.Revision
	case datastore.Deleted:
		key := datastore.KeyOf(event.Object)
		u.Changed = event.Revision
		if event.Err != nil {
			l.known[key] = struct{}{}
			u.Refused = refuse(nil, key, event.Err)
			break
		}
		delete(l.known, key)
		u.Deletes = []hub.Name{{Namespace: key.Namespace, Name: key.Name}}
	case datastore.Bookmark:
	}
	return u
}

// refuse notes an object that cannot be read.
func refuse(refused map[hub.Name]string, key datastore.Key, err error) map[hub.Name]string {
	if refused == nil {
		refused = map[hub.Name]string{}
	}
	refused[hub.Name{Namespace: key.Namespace, Name: key.Name}] = err.Error()
	return refused
}

func (l *loop) hand(ctx context.Context, u hub.Update) error {
	u.Datastore = identity(u.Upserts)
	if u.Datastore != "" {
		if l.identity != "" && u.Datastore != l.identity {
			return fmt.Errorf("%w: it was %s and is %s", errAnother, l.identity, u.Datastore)
		}
		l.identity = u.Datastore
	}
	l.gate.see(u)
	if err := l.sink.Update(ctx, u); err != nil {
		return fmt.Errorf("%w of %s: %w", errSink, l.kind, err)
	}
	return nil
}

// newer returns the greater of two resource versions, which are decimal numbers.
func newer(a, b string) string {
	if hub.CompareRevisions(b, a) > 0 {
		return b
	}
	return a
}
