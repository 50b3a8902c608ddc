// Package felix is the node agent: it makes the kernel match what the stream says.
//
// One goroutine, Agent.Run, owns the state of the stream, the workloads and every driver. Commits, requests of the
// CNI server, routes from BGP, the node's facts, the kernel's events and timers arrive on channels; each marks what
// it changed, and one pass renders the desired state and applies it. Nothing is programmed before the first commit
// that is in sync, or, without one for a while, before the journal of the last run has been taken for it; but where
// the journal has host endpoints, they are closed at once, as it has them. A journal that is stale changes nothing in a
// kernel that has rules of an earlier process; in one that has none, as after a boot, its host endpoints allow the
// failsafe ports alone. When the agent ends everything stays in the kernel.
//
// felix/daemon composes the parts into the process, and removes what they made.
package felix

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/felix/policy"
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

// Options of an Agent; all are required but Learned and Configured.
type Options struct {
	Node   string
	Source hub.Source
	// Whole says that the source's first commit is everything; otherwise it is the
	// difference to what the journal held.
	Whole   bool
	Journal *journal.Journal
	Drivers Drivers
	Events  <-chan dataplane.Event
	Speaker Speaker
	Facts   NodeFacts
	// FirstFacts is what is known of the node before Facts says anything.
	FirstFacts node.Facts
	// Learned are the BGP routes that the kernel has from an earlier process. They stay until the
	// speaker is in sync.
	Learned []bgp.Route
	// Local are the settings of this process, the most important first, and Config what Drivers were
	// opened with.
	Local  []config.Source
	Config *config.Config
	// Configured is called with each new Config, the first included; nil for none.
	Configured func(*config.Config)
	Metrics    *Metrics
	Log        *slog.Logger
}

// patience is how long a start waits for the stream before it takes the journal for it, and for the
// node's addresses before it programs without them, which takes the routes that an earlier process made.
const patience = 10 * time.Second

// checkInterval is how often drivers without events look whether somebody else changed their state.
const checkInterval = time.Second

// The waits before what failed is tried again double from the first to the last.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Agent is the loop. Its fields but the channels and the atomic values are Run's.
type Agent struct {
	opts    Options
	log     *slog.Logger
	metrics *Metrics
	state   *state
	facts   node.Facts
	config  *config.Config

	workloads map[string]cniserver.Workload // by the host's end
	// external are those that the datastore tells of, as of the last rendering.
	external map[string]cniserver.Workload
	// ipvs is what is known of kube-proxy's IPVS mode.
	ipvs ipvs
	// sysctls are the devices whose settings are desired, with what these follow from.
	sysctls   map[string]deviceSettings
	renderers map[dataplane.Family]*policy.Renderer
	// broken are the kernel's names of sets that could not be made whole.
	broken   map[dataplane.Family]map[string]bool
	withheld bool // the kernel has no room for some sets
	// chains are the Keys of what each table was rendered from.
	chains  map[tableKey]map[string]any
	adds    []addWaiter
	waiters []endpointWaiter

	heard       bool // the stream has delivered something
	inSync      bool // the stream delivered everything
	programming bool // the kernel is ours to change: inSync, or the journal was taken for it
	patient     bool // the stream, and the node's addresses, are still waited for
	everApplied bool
	applied     uint64   // number of the last commit taken in
	complaint   string   // the last pass's errors, as logged
	problems    []string // destinations that cannot be reached
	unresolved  []string // routes learned by BGP whose next hops cannot be reached
	refused     []string // and those that contradict the stream
	unusable    []string // endpoints that cannot be enforced as they are written
	given       []config.Given
	ignored     ignored // what is asked for on this node and does not happen
	// staleJournal is why the journal differs from what was delivered, as last logged.
	staleJournal string
	conflicts    []string // pods with addresses that IPAM does not assign to them
	bgpConfig    bgp.Config
	answerer     answerer
	marks        policy.Marks
	tunnels      []tunnel.Device           // desired, without their peers
	guarded      map[dataplane.Family]bool // whether rules stood once in this process: routes wait for that
	guardMode    guardMode
	guardStands  bool             // the kernel is as guard wants it, as far as is known
	tunnelPools  node.TunnelPools // as NodeFacts was told
	retry        time.Duration    // the next wait
	retryTimer   *time.Timer

	requests chan func() // unbuffered; written by the methods for other goroutines, read by Run
	done     chan struct{}
	cni      atomic.Pointer[cniserver.State]
	beat     atomic.Int64 // when the loop last turned, Unix nanoseconds
	live     atomic.Bool  // the kernel was programmed once, in sync
}

// NewAgent makes an Agent out of what the journal has.
func NewAgent(opts Options) (*Agent, error) {
	marks, err := policy.MarksOf(opts.Config.IptablesMarkMask)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		opts: opts, log: opts.Log, metrics: opts.Metrics, config: opts.Config,
		ipvs:  ipvs{marks: policy.NewEndpointMarks(marks)},
		state: newState(), facts: opts.FirstFacts, marks: marks, patient: true, retry: firstRetry,
		workloads: map[string]cniserver.Workload{}, sysctls: map[string]deviceSettings{},
		renderers: map[dataplane.Family]*policy.Renderer{}, chains: map[tableKey]map[string]any{},
		broken: map[dataplane.Family]map[string]bool{}, answerer: newAnswerer(),
		guarded:  map[dataplane.Family]bool{},
		requests: make(chan func()), done: make(chan struct{}),
	}
	for _, object := range opts.Journal.State().Objects {
		a.state.upsert(object)
	}
	a.tellOfJournal()
	a.cni.Store(&cniserver.State{NotReady: errors.New("felix is starting")})
	a.beat.Store(time.Now().UnixNano())
	return a, nil
}

// Restore tells of workloads that exist already. Call it before Run.
func (a *Agent) Restore(workloads []cniserver.Workload) {
	for _, w := range workloads {
		a.workloads[w.HostIface] = w
	}
}

// Run works until ctx ends, and returns nil then; ErrRestart (wrapped) if the process has to start
// again, or the source's error if that ended.
func (a *Agent) Run(ctx context.Context) error {
	defer close(a.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	commits, ended := a.receive(ctx)
	impatient := time.NewTimer(patience)
	defer impatient.Stop()
	a.retryTimer = time.NewTimer(lastRetry)
	a.retryTimer.Stop() // until something fails
	defer a.retryTimer.Stop()
	refresh := newRefresher(a.config)
	defer refresh.stop()
	heartbeat := time.NewTicker(time.Second)
	defer heartbeat.Stop()
	if err := a.pass(ctx); err != nil {
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
		case <-impatient.C:
			a.patient = false
			work = a.takeJournal() || !a.everApplied
		case <-a.retryTimer.C:
		case <-refresh.rules.C:
			a.opts.Drivers.resyncRules()
			a.guardStands = false
		case <-refresh.sets.C:
			a.opts.Drivers.resyncSets()
			a.guardStands = false
		case <-refresh.routes.C:
			a.opts.Drivers.resyncRoutes()
			a.state.dirty.routes = true
		case <-refresh.links.C:
			a.opts.Drivers.resyncLinks()
		case <-refresh.check.C:
			work = a.check(ctx)
		case <-heartbeat.C:
			a.opts.Journal.Keep()
			a.answerer.turn(a)
			work = a.tellOfJournal() || len(a.waiters) > 0
		}
		work = a.drain() || work
		a.metrics.messages.taken()
		if work || a.state.dirty.any() {
			if err := a.pass(ctx); err != nil {
				return err
			}
			refresh.adjust(a.config)
		}
		a.beat.Store(time.Now().UnixNano())
	}
}

func (d *dirty) any() bool { return d.config || d.rules || d.routes || len(d.sets) > 0 }

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

// drain takes what else waits, so that one pass serves it all, and says whether that asks for one.
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

// maxDrained is how much is taken before a pass at most.
const maxDrained = 1000

// commit takes in what the stream delivered.
func (a *Agent) commit(c wire.Commit) {
	a.heard = true
	if c.InSync && !a.inSync && a.opts.Whole {
		c = a.completed(c)
	}
	a.opts.Journal.Append(c)
	a.tellOfJournal()
	for _, object := range c.Upserts {
		a.state.upsert(object)
		if object.ID() == (wire.ID{Kind: wire.KindHost, Name: a.opts.Node}) {
			a.opts.Facts.Check() // a user may have written another address
		}
	}
	for _, d := range c.Sets {
		if !a.state.change(d) {
			a.log.Error("change of an IP set that is not known", "set", d.Name)
		}
	}
	for _, id := range c.Deletes {
		a.state.delete(id)
	}
	a.applied = c.Number
	if c.InSync && !a.inSync {
		a.inSync, a.programming = true, true
		a.metrics.messages.inSync()
		a.log.Info("in sync with the stream", "commit", c.Number, "objects", len(c.Upserts))
	}
	a.metrics.messages.commit(c)
}

// completed adds to a commit that is everything the deletion of what the journal has besides.
func (a *Agent) completed(c wire.Commit) wire.Commit {
	gone := maps.Clone(a.opts.Journal.State().Objects)
	for _, object := range c.Upserts {
		delete(gone, object.ID())
	}
	for id := range gone {
		c.Deletes = append(c.Deletes, id)
	}
	return c
}

// takeJournal lets a node that cannot reach Typha go on with what it knew last, and says whether it does.
func (a *Agent) takeJournal() bool {
	if a.programming || len(a.opts.Journal.State().Objects) == 0 {
		return false
	}
	if stale := a.opts.Journal.Stale(); stale != nil {
		// The kernel may have rules that the journal lacks. A pod that is not programmed has no network anyway.
		a.log.Error("no stream yet, and the journal is not what the last run knew: nothing of it is programmed until there is one", "error", stale)
		return false
	}
	a.programming = true
	a.log.Warn("no stream yet, programming what the last run knew", "objects", len(a.opts.Journal.State().Objects))
	return true
}

// tellOfJournal logs when the journal becomes stale and when it is no longer stale, and sets the metric. It reports
// whether either happened.
func (a *Agent) tellOfJournal() bool {
	stale := a.opts.Journal.Stale()
	text := ""
	if stale != nil {
		text = stale.Error()
	}
	if text == a.staleJournal {
		return false
	}
	if a.staleJournal = text; stale != nil {
		a.log.Error("journal is stale", "error", stale)
		a.metrics.journalStale.Set(1)
	} else {
		a.log.Info("journal is what was delivered again")
		a.metrics.journalStale.Set(0)
	}
	return true
}

// journalProblem is for what is told to others.
func (a *Agent) journalProblem() []string {
	if a.staleJournal == "" {
		return nil
	}
	return []string{a.staleJournal + "; if this node starts without Typha, it connects no pod; " +
		"after a boot it closes its host endpoints but for the failsafe ports"}
}

// mayProgram reports whether the kernel is ours to change now.
func (a *Agent) mayProgram() bool {
	known := a.facts.IPv4.Addr.IsValid() || a.facts.IPv6.Addr.IsValid()
	return a.programming && (known || !a.patient)
}

func (a *Agent) learnFacts(facts node.Facts) {
	a.facts = facts
	a.state.dirty.routes, a.state.dirty.rules = true, true
	a.log.Info("node facts", "ipv4", facts.IPv4.Addr, "ipv6", facts.IPv6.Addr, "tunnelsV4", facts.IPv4.Tunnels,
		"tunnelsV6", facts.IPv6.Tunnels, "mtu", facts.MTU)
}

// observe shows an event to every driver, and says whether one has to act.
func (a *Agent) observe(e dataplane.Event) bool {
	a.metrics.messages.event(e.Kind)
	if e.Kind == dataplane.EventAddr || e.Kind == dataplane.EventLost {
		a.opts.Facts.Check()
	}
	act := false
	if a.opts.Drivers.Interfaces.Observe(e) {
		if a.state.followsInterfaces() {
			a.state.dirty.rules, a.state.dirty.routes, act = true, true, true
		}
		act = act || a.ipvs.on || e.Device == ipvsDevice
	}
	for _, f := range a.opts.Drivers.Families {
		if f.Underlay.Observe(e) {
			a.state.dirty.routes, act = true, true
		}
	}
	for _, o := range a.opts.Drivers.observers() {
		if o.Observe(e) {
			act = true
		}
	}
	if act {
		a.guardStands = false
		a.log.Debug("kernel state differs", "event", e)
	}
	return act
}

func (a *Agent) check(ctx context.Context) bool {
	if !a.everApplied {
		return false
	}
	changed, err := a.opts.Drivers.changed(ctx)
	if err != nil {
		a.log.Warn("kernel state not checked", "error", err)
	}
	return changed
}
