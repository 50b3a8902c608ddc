package felix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// maxReported is how many errors a report upward may have.
const maxReported = 100

// pass renders what changed and applies everything that is not in place. Its error ends the agent.
func (a *Agent) pass(ctx context.Context) error {
	if err := a.reconfigure(); err != nil {
		return err
	}
	a.publish() // before an ADD goes on, which takes an address out of these pools
	a.answerEndpoints()
	if !a.mayProgram() {
		a.guard(ctx)
		return nil
	}
	a.endGuard()
	interfaces := a.readInterfaces(ctx)
	a.renderSets()
	a.renderRoutes()
	a.renderRules()
	start := time.Now()
	enforced, err := a.apply(ctx)
	err = errors.Join(interfaces, err)
	if ctx.Err() != nil {
		return nil // an apply that was cut short says nothing
	}
	a.metrics.apply(time.Since(start))
	a.everApplied = true
	a.answerAdds(enforced)
	a.account(enforced, err)
	a.publish()
	return nil
}

// reconfigure resolves the settings when a source changed.
func (a *Agent) reconfigure() error {
	if !a.state.dirty.config {
		return nil
	}
	a.state.dirty.config = false
	sources := sourcesOf(a.opts.Local, a.state.configs, a.opts.Node)
	c, err := config.Resolve(sources...)
	if config.NeedsRestart(a.opts.Config, c) {
		return fmt.Errorf("felix configuration: %w", ErrRestart)
	}
	a.config, a.given = c, config.GivenBy(sources...)
	a.ignored.replace(ignoredOf(err, sources), a.log)
	if a.opts.Configured != nil {
		a.opts.Configured(c)
	}
	a.state.dirty.rules, a.state.dirty.routes = true, true
	return nil
}

// sourcesOf returns the sources of settings, those of this process and of the stream, the most important first.
func sourcesOf(local []config.Source, configs map[string]*wire.Config, node string) []config.Source {
	sources := slices.Clone(local)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(configs)), func(name string) bool {
		return !strings.HasPrefix(name, calc.SelectedConfig)
	})
	for _, name := range append(append([]string{calc.NodeConfig(node)}, names...), calc.GlobalConfig) {
		if c := configs[name]; c != nil {
			resource := strings.TrimPrefix(name, calc.SelectedConfig)
			if name == calc.GlobalConfig {
				resource = "default"
			}
			sources = append(sources, config.Source{Name: "FelixConfiguration " + resource, Values: c.Values, Resource: true})
		}
	}
	return sources
}

// apply makes the kernel match, in the order in which nothing opens that is to be closed: what rules
// name exists before them, a pod's rules before its route, and what rules named goes after them. It
// says for which families the sets and rules are enforced.
func (a *Agent) apply(ctx context.Context) (map[dataplane.Family]bool, error) {
	enforced := map[dataplane.Family]bool{}
	families := a.opts.Drivers.Families
	errs := []error{a.count(a.opts.Drivers.Tunnels.Name(), a.opts.Drivers.Tunnels.Apply(ctx)),
		a.count(a.opts.Drivers.Sysctls.Name(), a.opts.Drivers.Sysctls.Apply(ctx))}
	grown, rules := a.protect(ctx)
	for i, f := range families {
		held := !enforces(rules[i])
		whole := grown[i] == nil || a.closes(f.Family, grown[i])
		a.guarded[f.Family] = a.guarded[f.Family] || whole && !held
		var routes error
		if a.guarded[f.Family] { // pods are not to be reached before their policy is
			routes = a.count(f.Routes.Name(), f.Routes.Apply(ctx))
		}
		connections := a.count(f.Connections.Name(), f.Connections.Apply(ctx)) // last: what comes after meets the rules
		enforced[f.Family] = whole && !held
		errs = append(errs, grown[i], rules[i], routes, connections)
		if !held {
			errs = append(errs, a.count(f.Sets.Name(), f.Sets.Shrink(ctx)))
		}
	}
	return enforced, errors.Join(errs...)
}

// protect makes sets and rules as desired, as far as that opens nothing, and returns the errors of each family.
func (a *Agent) protect(ctx context.Context) (grown, rules []error) {
	for _, f := range a.opts.Drivers.Families {
		err := a.count(f.Sets.Name(), f.Sets.Grow(ctx))
		a.learnBroken(f.Family, err)
		grown = append(grown, err)
	}
	a.renderRules() // again, if that changed what policies can be enforced
	return grown, a.applyRules(ctx)
}

// backOff makes the loop try again after a wait that doubles.
func (a *Agent) backOff() {
	a.retryTimer.Reset(a.retry)
	a.retry = min(2*a.retry, lastRetry)
}

// learnBroken takes in which sets are not whole. Policies that name one of them deny, and hold up nothing else.
func (a *Agent) learnBroken(f dataplane.Family, err error) {
	failed, known := errors.AsType[*ipset.FailedError](err)
	if err != nil && !known {
		return // what was broken may be so still
	}
	broken := map[string]bool{}
	if known {
		for name := range failed.Sets {
			broken[name] = true
		}
	}
	if !maps.Equal(a.broken[f], broken) {
		a.broken[f] = broken
		a.state.dirty.rules = true
	}
}

// closes reports whether an error is about sets of policies alone, which then deny.
func (a *Agent) closes(f dataplane.Family, err error) bool {
	if _, known := errors.AsType[*ipset.FailedError](err); !known {
		return false
	}
	ids := []string{policy.SetAllPools, policy.SetMasqPools, policy.SetAllHosts, policy.SetThisHost}
	for id := range tunnelSets(f, nil) {
		ids = append(ids, id)
	}
	for _, id := range ids {
		if a.broken[f][ipset.SetName(f, id)] {
			return false
		}
	}
	return true
}

// applyRules applies one table after another, each of all families at a time: what takes time is the commands.
func (a *Agent) applyRules(ctx context.Context) []error {
	families := a.opts.Drivers.Families
	errs, finish := make([]error, len(families)), make([]func() error, len(families))
	for table := range tables {
		for i, f := range families {
			finish[i] = f.tables()[table].Start(ctx)
		}
		for i, f := range families {
			errs[i] = errors.Join(errs[i], a.count(f.tables()[table].Name(), finish[i]()))
		}
	}
	return errs
}

// enforces reports whether the rules stand, be it that some chains deny because the kernel refused them.
func enforces(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err == nil
	}
	return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool {
		_, refused := errors.AsType[*iptables.RefusedError](err)
		return !refused && !enforces(err)
	})
}

// count counts one driver's failure, and gives it back.
func (a *Agent) count(driver string, err error) error {
	if err != nil {
		a.metrics.failures.Inc()
		a.metrics.driverErrors.WithLabelValues(driver).Inc()
	}
	return err
}

// failures returns what keeps this node from what it was handed out, but for what a pass or a setting does.
func (a *Agent) failures() []string {
	return slices.Concat(a.conflicts, a.problems, a.unusable, a.journalProblem())
}

// account tells the log, the timer and Typha how the pass went.
func (a *Agent) account(enforced map[dataplane.Family]bool, err error) {
	report := wire.Report{Applied: a.applied, Errors: a.failures()}
	complaint := ""
	if err != nil {
		complaint = err.Error()
		report.Errors = append(report.Errors, strings.Split(complaint, "\n")...)
	}
	report.Errors = append(report.Errors, a.ignored.unprotected...)
	report.Errors = report.Errors[:min(len(report.Errors), maxReported)]
	report.Notices = a.notices()
	if complaint != a.complaint {
		if a.complaint = complaint; err != nil {
			a.log.Error("kernel not as desired, will retry", "error", err)
		} else {
			a.log.Info("kernel as desired again")
		}
	}
	if err != nil {
		a.backOff()
	} else {
		a.retryTimer.Stop()
		a.retry = firstRetry
	}
	all := !slices.Contains(slices.Collect(maps.Values(enforced)), false)
	if all && a.inSync && !a.live.Load() {
		a.live.Store(true)
		a.log.Info("kernel programmed", "workloads", len(a.workloads), "policies", len(a.state.policies))
	}
	a.metrics.selectors.Set(float64(len(a.state.sets)))
	a.metrics.hosts.Set(float64(len(a.state.hosts)))
	if a.inSync {
		if !all {
			report.Applied = 0 // what is enforced is not known to be any commit
		}
		a.opts.Source.Report(report)
	}
}

// notices returns what is as configured, but may surprise a user who looks at the node.
func (a *Agent) notices() []string {
	notices := slices.Concat(a.ignored.settings, a.ignored.cni, a.facts.Refused, a.ignoredSources())
	if !a.datastoreReady() {
		notices = append(notices, noticeNotReady)
	}
	if a.ipvs.on {
		notices = append(notices, noticeIPVS)
	}
	return notices
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
	s := &cniserver.State{Pools: a.state.ipamPools(everyPool), Host: host, NoIPv6: !a.programs(dataplane.IPv6), Labels: labels,
		MTU: a.podMTU(), Limits: a.state.limits()}
	switch {
	case !a.live.Load():
		s.NotReady = errors.New("felix has not programmed this node yet")
	case !a.facts.IPv4.Addr.IsValid() && !a.facts.IPv6.Addr.IsValid():
		s.NotReady = errors.New("the addresses of this node are not known yet")
	case len(s.Pools) == 0:
		s.NotReady = errors.New("there is no IP pool")
	}
	if !a.datastoreReady() {
		s.Refused = errNotReady
	}
	if a.ipvs.on && a.ipvs.marks.Room() == 0 {
		s.NotReady, s.Refused = errNoMarks, errNoMarks
	}
	a.cni.Store(s)
}
