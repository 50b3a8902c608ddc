// Package felix is the node agent: it makes the kernel match what the stream says.
// One goroutine, Agent.Run, owns the state of the stream, the workloads and the dataplane. Commits, requests of the CNI
// server, routes from BGP, the node's facts, the kernel's events and timers arrive on channels. Each of them marks what
// it changed. The agent then hands the changes of the desired state to the dataplane, which applies them.
//
// The agent programs nothing before the first commit that is in sync. If none comes for 10 s, it programs the journal
// of the last run. It closes the journal's host endpoints at once. A stale journal changes nothing in a kernel that has
// rules of an earlier process; in a kernel without rules, as after a boot, its host endpoints allow only the failsafe
// ports. When the agent ends, everything stays in the kernel.
//
// felix/daemon composes the parts into the process, and removes what they made.
package felix

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// ErrRestart says that a setting changed that is read at the start of the process only.
var ErrRestart = errors.New("a setting changed that takes effect when the process starts again")

// Speaker is the part of bgp/speaker that the agent uses.
type Speaker interface {
	Configure(bgp.Config)
	Changes() <-chan struct{}
	Routes() []bgp.Route
	Status() bgp.Status
}

// NodeFacts is the part of node.Watcher that the agent uses.
type NodeFacts interface {
	Facts() <-chan node.Facts
	SetTunnelPools(node.TunnelPools)
	Check()
}

// What the agent reads of the kernel. It changes nothing; the dataplane does.
type (
	// Interfaces is a *iface.Interfaces.
	Interfaces interface {
		dataplane.Observer
		Apply(context.Context) (listed bool, err error)
		Resync()
		Exists(name string) bool
		WithAddr(netip.Addr) string
		AddrsBut(name string) []netip.Addr
	}
	// Underlay is a *route.Foreign: the routes that the node has from others.
	Underlay interface {
		dataplane.Observer
		Of([]netip.Addr) ([]route.Route, error)
		Resync()
	}
)

// Options of an Agent; all are required but Learned and Configured.
type Options struct {
	Node   string
	Source hub.Source
	// Whole says that the source's first commit is everything; otherwise it is the
	// difference to what the journal held.
	Whole      bool
	Journal    *journal.Journal
	Dataplane  boundary.Dataplane
	Interfaces Interfaces
	// Underlay has each of the Dataplane's families.
	Underlay map[dataplane.Family]Underlay
	Events   <-chan dataplane.Event
	Speaker  Speaker
	Facts    NodeFacts
	// FirstFacts is what is known of the node before Facts says anything.
	FirstFacts node.Facts
	// Learned are the BGP routes that the kernel has from an earlier process. They stay until the
	// speaker is in sync.
	Learned []bgp.Route
	// Local are the settings of this process, the most important first, and Config what the Dataplane was
	// opened with.
	Local  []config.Source
	Config *config.Config
	// Configured is called with each new Config, the first included; nil for none.
	Configured func(*config.Config)
	Metrics    *Metrics
	Log        *slog.Logger
}

// checkInterval is how often the dataplane looks for changes of which the kernel sends no event.
const checkInterval = time.Second

// Agent is the loop. Its fields but the channels and shared are Run's.
type Agent struct {
	opts      Options
	state     *state // what the stream said
	start     *start
	settings  settings
	facts     node.Facts
	endpoints *endpoints
	hosts     hostEndpoints
	network   *network
	waiters   waiters
	report    report
	answerer  answerer
	retry     retry

	requests chan func() // unbuffered; written by the methods for other goroutines, read by Run
	done     chan struct{}
	shared   shared
}

// shared is what any goroutine may read of an Agent.
type shared struct {
	cni  atomic.Pointer[cniserver.State]
	beat atomic.Int64 // when the loop last turned, Unix nanoseconds
	live atomic.Bool  // the kernel was programmed once, in sync
}

// NewAgent makes an Agent out of what the journal has.
func NewAgent(opts Options) *Agent {
	a := &Agent{opts: opts, state: newState(), facts: opts.FirstFacts, settings: settings{config: opts.Config},
		start:    &start{journal: opts.Journal, log: opts.Log, stale: opts.Metrics.journalStale, waiting: true},
		answerer: newAnswerer(), requests: make(chan func()), done: make(chan struct{})}
	a.endpoints = newEndpoints(a.state, &a.opts)
	a.network = newNetwork(&a.opts, a.endpoints.tables)
	for _, object := range opts.Journal.State().Objects {
		a.state.upsert(object)
	}
	a.start.checkJournal()
	a.shared.cni.Store(&cniserver.State{NotReady: errors.New("felix is starting")})
	a.shared.beat.Store(time.Now().UnixNano())
	return a
}

// Restore tells of workloads that exist already. Call it before Run.
func (a *Agent) Restore(workloads []cniserver.Workload) {
	for _, w := range workloads {
		a.endpoints.add(w)
	}
}

// Run works until ctx ends, and returns nil then; ErrRestart (wrapped) if the process has to start
// again, or the source's error if that ended.
func (a *Agent) Run(ctx context.Context) error {
	defer close(a.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	commits, ended := a.receive(ctx)
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	a.retry = newRetry()
	defer a.retry.timer.Stop()
	refresh := newRefresher(a.settings.config)
	defer refresh.stop()
	heartbeat := time.NewTicker(time.Second)
	defer heartbeat.Stop()
	if err := a.sync(ctx); err != nil {
		return err
	}
	for {
		work := true
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case c := <-commits:
			a.commit(c)
		case request := <-a.requests:
			request()
		case facts := <-a.opts.Facts.Facts():
			a.learnFacts(facts)
		case <-a.opts.Speaker.Changes():
			a.state.dirty.routes = true
		case e, open := <-a.opts.Events:
			if !open && ctx.Err() == nil {
				return errors.New("the kernel's notifications have ended")
			}
			work = a.observe(e)
		case <-timeout.C:
			a.start.timedOut()
			work = !a.start.programmed
		case <-a.retry.timer.C:
		case <-refresh.rules.C:
			a.resync(boundary.Rules)
		case <-refresh.sets.C:
			a.resync(boundary.Sets)
		case <-refresh.routes.C:
			a.resync(boundary.Routes)
		case <-refresh.links.C:
			a.resync(boundary.Links)
		case <-refresh.check.C:
			work = a.check(ctx)
		case <-heartbeat.C:
			a.opts.Journal.Keep()
			a.answerer.turn(a)
			work = a.start.checkJournal() || len(a.waiters.endpoints) > 0
		}
		work = a.drain() || work
		a.opts.Metrics.messages.taken()
		if work || a.pending() {
			if err := a.sync(ctx); err != nil {
				return err
			}
			refresh.adjust(a.settings.config)
		}
		a.shared.beat.Store(time.Now().UnixNano())
	}
}

// receive reads the source on a goroutine of its own.
func (a *Agent) receive(ctx context.Context) (<-chan wire.Commit, <-chan error) {
	commits, ended := make(chan wire.Commit), make(chan error, 1)
	go func() {
		for {
			c, err := a.opts.Source.Next(ctx)
			if err != nil {
				ended <- err
				return
			}
			select {
			case commits <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return commits, ended
}

// drain takes what else waits, so that one sync serves it all, and says whether that asks for one.
func (a *Agent) drain() bool {
	work := false
	for range maxDrained {
		select {
		case request := <-a.requests:
			request()
			work = true
		case e, open := <-a.opts.Events:
			if !open {
				return work // the loop sees it too
			}
			work = a.observe(e) || work
		default:
			return work
		}
	}
	return work
}

// maxDrained is how much is taken before a sync at most.
const maxDrained = 1000

// commit takes in what the stream delivered.
func (a *Agent) commit(c wire.Commit) {
	a.start.heard = true
	if c.InSync && !a.start.inSync && a.opts.Whole {
		c = a.start.completed(c)
	}
	a.opts.Journal.Append(c)
	a.start.checkJournal()
	for _, object := range c.Upserts {
		a.state.upsert(object)
		if object.ID() == (wire.ID{Kind: wire.KindHost, Name: a.opts.Node}) {
			a.opts.Facts.Check() // a user may have written another address
		}
	}
	for _, d := range c.Sets {
		if !a.state.change(d) {
			a.opts.Log.Error("change of an IP set that is not known", "set", d.Name)
		}
	}
	for _, id := range c.Deletes {
		a.state.delete(id)
	}
	a.report.commit = c.Number
	if c.InSync && !a.start.inSync {
		a.start.inSync, a.start.programming = true, true
		a.opts.Metrics.messages.inSync()
		a.opts.Log.Info("in sync with the stream", "commit", c.Number, "objects", len(c.Upserts))
	}
	a.opts.Metrics.messages.commit(c)
}

func (a *Agent) learnFacts(facts node.Facts) {
	a.facts = facts
	a.state.dirty.routes = true
	a.opts.Log.Info("node facts", "ipv4", facts.IPv4.Addr, "ipv6", facts.IPv6.Addr, "tunnelsV4", facts.IPv4.Tunnels,
		"tunnelsV6", facts.IPv6.Tunnels, "mtu", facts.MTU)
}

// observe shows an event to all that follow the kernel's state, and reports whether a sync is due because of it.
func (a *Agent) observe(e dataplane.Event) bool {
	a.opts.Metrics.messages.event(e.Kind)
	if e.Kind == dataplane.EventAddr || e.Kind == dataplane.EventLost {
		a.opts.Facts.Check()
	}
	act := false
	if a.opts.Interfaces.Observe(e) {
		act = a.interfacesChanged() || a.settings.ipvs || e.Device == ipvsDevice
	}
	for _, underlay := range a.opts.Underlay {
		if underlay.Observe(e) {
			a.state.dirty.routes, act = true, true
		}
	}
	act = a.opts.Dataplane.Observe(e) || act
	if act {
		a.start.guardStands = false
		a.opts.Log.Debug("kernel state differs", "event", e)
	}
	return act
}

// resync makes the next sync read a part of the kernel's state back.
func (a *Agent) resync(part boundary.Part) {
	a.opts.Dataplane.Resync(part)
	switch part {
	case boundary.Rules, boundary.Sets:
		a.start.guardStands = false
	case boundary.Routes:
		a.state.dirty.routes = true
		for _, underlay := range a.opts.Underlay {
			underlay.Resync()
		}
	case boundary.Links:
		a.opts.Interfaces.Resync()
	}
}

func (a *Agent) check(ctx context.Context) bool {
	if !a.start.programmed {
		return false
	}
	changed, err := a.opts.Dataplane.Check(ctx)
	if err != nil {
		a.opts.Log.Warn("kernel state not checked", "error", err)
	}
	return changed
}
