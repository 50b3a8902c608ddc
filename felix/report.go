package felix

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// maxReported is how many errors a report upward may have.
const maxReported = 100

// report is what the log and Typha were told of the last Apply.
type report struct {
	result    boundary.Result
	complaint string   // the errors, as logged
	problems  []string // destinations that cannot be reached, as logged
	unusable  []string // endpoints that cannot be enforced as they are written
	conflicts []string // pods with addresses that IPAM does not assign to them
	commit    uint64   // number of the last commit
}

// account tells the log, the timer and Typha how an Apply went.
func (a *Agent) account(result boundary.Result, err error) {
	r := &a.report
	r.result = result
	a.tellProblems()
	report := wire.Report{Applied: r.commit, Errors: a.failures()}
	complaint := ""
	if err != nil {
		complaint = err.Error()
		report.Errors = append(report.Errors, strings.Split(complaint, "\n")...)
	}
	report.Errors = append(report.Errors, a.settings.ignored.unprotected...)
	report.Errors = report.Errors[:min(len(report.Errors), maxReported)]
	report.Notices = a.notices()
	if complaint != r.complaint {
		r.complaint = complaint
		if err != nil {
			a.opts.Log.Error("kernel not as desired, will retry", "error", err)
		} else {
			a.opts.Log.Info("kernel as desired again")
		}
	}
	if err != nil {
		a.retry.later()
	} else {
		a.retry.done()
	}
	all := true
	for _, enforced := range result.Enforced {
		all = all && enforced
	}
	if all && a.start.inSync && !a.shared.live.Load() {
		a.shared.live.Store(true)
		a.opts.Log.Info("kernel programmed", "workloads", len(a.endpoints.current), "policies", len(a.state.policies))
	}
	a.opts.Metrics.local(a.state, len(a.endpoints.current))
	if a.start.inSync {
		if !all {
			report.Applied = 0 // what is enforced is not known to be any commit
		}
		a.opts.Source.Report(report)
	}
}

// tellProblems logs what cannot be reached and what cannot be enforced, if that has changed.
func (a *Agent) tellProblems() {
	r := &a.report
	problems := a.network.allProblems()
	if len(problems) > 0 && !slices.Equal(problems, r.problems) {
		a.opts.Log.Warn("part of the network cannot be reached", "problems", problems)
	}
	r.problems = problems
	unusable := slices.Concat(a.hosts.unusable, a.endpoints.unusable(), r.result.Unusable)
	slices.Sort(unusable)
	if len(unusable) > 0 && !slices.Equal(unusable, r.unusable) {
		a.opts.Log.Warn("part of the policy cannot be enforced", "problems", unusable)
	}
	r.unusable = unusable
}

// failures returns what keeps this node from what it was handed out, but for what an Apply or a setting does.
func (a *Agent) failures() []string {
	return slices.Concat(a.report.conflicts, a.report.problems, a.report.unusable, a.start.problem())
}

// notices returns what is as configured, but may surprise a user who looks at the node.
func (a *Agent) notices() []string {
	notices := slices.Concat(a.settings.ignored.settings, a.settings.ignored.cni, a.facts.Refused,
		a.endpoints.ignoredSources(a.opts.Dataplane.SourcesDropped))
	if !a.datastoreReady() {
		notices = append(notices, noticeNotReady)
	}
	return append(notices, a.report.result.Notices...)
}

// publish tells the CNI server what it needs to know.
func (a *Agent) publish() {
	host := a.state.hosts[a.opts.Node]
	if host == nil {
		host = &wire.Host{Name: a.opts.Node, IPv4: a.facts.IPv4.Addr, IPv6: a.facts.IPv6.Addr}
	}
	labels := a.facts.Labels // which are older, and are all that an older Typha leaves
	if a.state.node != nil {
		labels = a.state.node.Labels
	}
	everyPool := func(*wire.Pool) bool { return true }
	s := &cniserver.State{Pools: a.state.ipamPools(everyPool), Host: host, Labels: labels,
		NoIPv6: !slices.Contains(a.opts.Dataplane.Families(), dataplane.IPv6),
		MTU:    routing.PodMTU(a.facts.MTU, tunnelSettings(a.settings.config), a.state.pools), Limits: a.state.limits()}
	switch {
	case !a.shared.live.Load():
		s.NotReady = errors.New("felix has not programmed this node yet")
	case !a.facts.IPv4.Addr.IsValid() && !a.facts.IPv6.Addr.IsValid():
		s.NotReady = errors.New("the addresses of this node are not known yet")
	case len(s.Pools) == 0:
		s.NotReady = errors.New("there is no IP pool")
	}
	if !a.datastoreReady() {
		s.Refused = errNotReady
	}
	if refused := a.report.result.Refused; refused != nil {
		s.NotReady, s.Refused = refused, refused
	}
	a.shared.cni.Store(s)
}

// The waits before what failed is tried again double from the first to the last.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// retry makes the loop try again what failed.
type retry struct {
	wait  time.Duration // the next
	timer *time.Timer
}

func newRetry() retry {
	r := retry{wait: firstRetry, timer: time.NewTimer(lastRetry)}
	r.timer.Stop() // until something fails
	return r
}

// later makes the timer fire after a wait that doubles.
func (r *retry) later() {
	r.timer.Reset(r.wait)
	r.wait = min(2*r.wait, lastRetry)
}

// done says that nothing failed.
func (r *retry) done() {
	r.timer.Stop()
	r.wait = firstRetry
}
