package calc

import (
	"math"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/compile"
	"github.com/maneki-net/maneki/typha/calc/labelindex"
	"github.com/maneki-net/maneki/typha/calc/sets"
)

// backlog holds the policies that take long to put in place. Each policy is a job, and a Step does a part of it. A job
// matches its new selectors against the groups of items, then builds the sets, then puts the policy in place. Until
// then the former policy stays in place; a policy without a former one allows nothing. Namespaces take turns, so that
// the jobs of one namespace do not wait for all jobs of another.
//
// A staged policy is in place at once, since no node gets it. Its job only matches its selectors, so that their members
// can be counted. Explain evaluates the selectors that are not matched yet.
type backlog struct {
	jobs  map[compile.Key]*job
	lines []*tenant // tenants with jobs, in the order of their turns
	light int       // lightWork, except in tests
}

// job puts one policy in place, or counts the members of a staged one.
type job struct {
	key     compile.Key
	policy  compile.Policy
	begun   bool
	dropped bool             // there is a newer state of the policy
	sets    []*sets.Set      // held until the policy holds them; none of a staged one
	scan    *labelindex.Scan // of the selectors that were not matched
	scanned bool             // the scan is finished
	built   int              // number of sets that are built
}

// lightWork is the largest estimate of work with which a policy is put in place at once.
const lightWork = 20_000

// unbounded is the limit of a Step that does everything.
const unbounded = math.MaxInt

func newBacklog() backlog { return backlog{jobs: map[compile.Key]*job{}, light: lightWork} }

// propose puts a policy in place, or starts a job that does. It reports whether anything changed.
func (e *Engine) propose(c proposal) bool {
	key := c.key
	if j := e.backlog.jobs[key]; j != nil {
		return false // the job already puts this policy in place
	}
	light := c.shut != nil || e.workOf(&c.Policy) <= e.backlog.light
	switch {
	case c.Staged != "":
		e.setPolicy(c)
		if light {
			for _, s := range e.unmatchedOf(&c.Policy) {
				e.index.Match(s)
			}
			return true
		}
	case light:
		e.setPolicy(c)
		return true
	case e.policies.Get(key) == nil:
		closed := proposal{key: key, Policy: c.Closed()}
		closed.Cost = compile.Cost{}
		e.setPolicy(closed)
	}
	j := &job{key: key, policy: c.Policy}
	e.backlog.jobs[key] = j
	t := e.tenant(key.Namespace)
	t.line = append(t.line, j)
	if len(t.line) == 1 {
		e.backlog.lines = append(e.backlog.lines, t)
	}
	return true
}

// unmatchedOf returns the selectors of a staged policy that are not matched against the groups of items.
func (e *Engine) unmatchedOf(c *compile.Policy) []*labelindex.Selector {
	var unmatched []*labelindex.Selector
	for i := range c.Sets {
		if c.Sets[i].Service != nil {
			continue
		}
		if s := e.index.FindSelector(c.Sets[i].Items.Key()); !s.Matched() {
			unmatched = append(unmatched, s)
		}
	}
	return unmatched
}

// cancel ends the job of a policy, if there is one.
func (e *Engine) cancel(key compile.Key) {
	if j := e.backlog.jobs[key]; j != nil {
		j.dropped = true
		e.endJob(j)
	}
}

func (e *Engine) endJob(j *job) {
	delete(e.backlog.jobs, j.key)
	for _, s := range j.sets {
		e.sets.Release(s)
	}
	*j = job{key: j.key, dropped: true}
}

// workOf estimates the work of putting a policy in place: the groups to match and, of an enforced policy, the members
// to add.
func (e *Engine) workOf(c *compile.Policy) int {
	work, groups := 0, map[string]int{} // by namespace
	for i := range c.Sets {
		want := &c.Sets[i]
		if s := e.sets.Find(want.Name); s != nil && s.Published() {
			continue
		}
		if size, known := e.sets.SizeOf(want); known {
			work++
			if c.Staged == "" {
				work += size
			}
			continue
		}
		ns := want.Items.Namespace
		n, counted := groups[ns]
		if !counted {
			n = e.index.Groups(ns)
			groups[ns] = n
		}
		work += 1 + n
	}
	return work
}

// busy reports whether a Step has left work to the next one.
func (e *Engine) busy() bool { return len(e.backlog.lines) > 0 || !e.index.Swept() }

// work does one part of the first job of each namespace, up to a limit. It reports whether there was a job.
func (e *Engine) work(limit int) bool {
	did := false
	for range len(e.backlog.lines) {
		if limit <= 0 {
			break
		}
		t := e.backlog.lines[0]
		e.backlog.lines = e.backlog.lines[1:]
		limit -= e.advance(t, limit)
		did = true
		t.line = slices.DeleteFunc(t.line, func(j *job) bool { return j.dropped })
		if len(t.line) > 0 {
			e.backlog.lines = append(e.backlog.lines, t)
		} else {
			e.dropTenantIfUnused(t)
		}
	}
	return did
}

// advance does a part of the first job of a namespace, and returns an estimate of the work done.
func (e *Engine) advance(t *tenant, limit int) int {
	i := slices.IndexFunc(t.line, func(j *job) bool { return !j.dropped })
	if i < 0 {
		return 0
	}
	switch j := t.line[i]; {
	case !j.begun:
		return e.begin(j)
	case j.scan.Remaining() > 0:
		return j.scan.Step(e.index, limit)
	case !j.scanned:
		return e.scanned(j)
	case j.built < len(j.sets):
		return e.makeSets(j, limit)
	default:
		c := proposal{key: j.key, Policy: j.policy}
		e.setPolicy(c)
		e.endJob(j)
		return 1 + len(c.Sets)
	}
}

// begin acquires the sets of the job, and finds the groups to match.
func (e *Engine) begin(j *job) int {
	j.begun = true
	var selectors []*labelindex.Selector
	if j.policy.Staged != "" {
		selectors = e.unmatchedOf(&j.policy)
	} else {
		for i := range j.policy.Sets {
			s := e.sets.Acquire(j.policy.Sets[i])
			j.sets = append(j.sets, s)
			if selector := s.Selector(); selector != nil && !selector.Matched() {
				selectors = append(selectors, selector)
			}
		}
	}
	j.scan = e.index.NewScan(selectors)
	return 1 + len(j.policy.Sets) + j.scan.Remaining()/16
}

// scanned is called when all groups are matched. The members are known now: sets beyond the budget are not built. The
// members of a staged policy are counted.
func (e *Engine) scanned(j *job) int {
	j.scanned = true
	j.scan.Finish()
	if j.policy.Staged != "" {
		e.tenants.unmeasured[e.policies.Get(j.key)] = struct{}{}
		e.endJob(j)
		return 1
	}
	members := 0
	for _, s := range j.sets {
		members += e.charge(e.sets.Size(s))
	}
	if members > e.budget.PolicyMembers {
		e.putShut(j.key, j.policy, fitting{hold: true}) // fitPolicies then gives the reason
		e.endJob(j)
	}
	return 1 + len(j.sets)
}

// makeSets hands out some of the sets. No node needs them before the policy is in place.
func (e *Engine) makeSets(j *job, limit int) int {
	done := 0
	for j.built < len(j.sets) && done < limit {
		s := j.sets[j.built]
		j.built++
		done++
		if !s.Published() {
			done += e.sets.Size(s)
			e.sets.HandOut(s)
		}
	}
	return done
}
