package calc

import (
	"math"
	"slices"

	"github.com/maneki-net/maneki/typha/calc/compile"
)

// backlog holds the policies that take long to put in place. Each policy is a job, and a Step does a part of it. A job
// matches its new selectors against the classes, then builds the sets, then puts the policy in place. Until then the
// former policy stays in place; a policy without a former one allows nothing. Namespaces take turns, so that the jobs
// of one namespace do not wait for all jobs of another.
//
// A staged policy is in place at once, since no node gets it. Its job only matches its selectors, so that their members
// can be counted. Explain evaluates the selectors that are not matched yet.
type backlog struct {
	jobs  map[compile.Key]*job
	lines []*tenant // tenants with jobs, in the order of their turns
}

// job puts one policy in place, or counts the members of a staged one.
type job struct {
	key     compile.Key
	policy  compile.Policy
	begun   bool
	dropped bool        // there is a newer state of the policy
	sets    []*ipSet    // held until the policy holds them; none of a staged one
	fresh   []*selector // selectors that are not matched against the classes yet
	classes []*class    // classes that are still to be matched
	asked   bool        // all classes are matched
	built   int         // number of sets that are built
}

// lightWork is the largest estimate of work with which a policy is put in place at once.
const lightWork = 20_000

// unbounded is the limit of a Step that does everything.
const unbounded = math.MaxInt

// propose puts a policy in place, or starts a job that does. It reports whether anything changed.
func (e *Engine) propose(c proposal) bool {
	key := c.key
	if j := e.backlog.jobs[key]; j != nil {
		return false // the job already puts this policy in place
	}
	light := c.shut != nil || e.workOf(&c.Policy) <= e.lightWork
	switch {
	case c.Staged != "":
		e.setPolicy(c)
		if light {
			e.fresh = append(e.fresh, e.unaskedOf(&c.Policy)...)
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
	if t.line = append(t.line, j); len(t.line) == 1 {
		e.backlog.lines = append(e.backlog.lines, t)
	}
	return true
}

// unaskedOf returns the selectors of a staged policy that are not matched against the classes.
func (e *Engine) unaskedOf(c *compile.Policy) []*selector {
	var unasked []*selector
	for i := range c.Sets {
		if c.Sets[i].Service != nil {
			continue
		}
		if s := e.selectors.Get(c.Sets[i].Items.Key()); !s.asked {
			unasked = append(unasked, s)
		}
	}
	return unasked
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
		e.releaseSet(s)
	}
	*j = job{key: j.key, dropped: true}
}

// workOf estimates the work of putting a policy in place: the classes to match and, of one in force, the members to
// add.
func (e *Engine) workOf(c *compile.Policy) int {
	all, spaces := e.classes.Len(), map[string]int{}
	work := 0
	for i := range c.Sets {
		want := &c.Sets[i]
		if s := e.sets.Get(want.Name); s != nil && s.sent {
			continue
		}
		if size, known := e.sizeOf(want); known {
			work++
			if c.Staged == "" {
				work += size
			}
			continue
		}
		classes := all
		if ns := want.Items.Namespace; ns != "" {
			n, counted := spaces[ns]
			if !counted {
				n = e.classesIn(ns)
				spaces[ns] = n
			}
			classes = n
		}
		work += 1 + classes
	}
	return work
}

// classesIn returns the number of classes of a namespace.
func (e *Engine) classesIn(ns string) int {
	n := 0
	if space := e.spaces.Get(ns); space != nil {
		for p := range space.places.All {
			n += p.classes.Len()
		}
	}
	return n
}

// busy reports whether a Step has left work to the next one.
func (e *Engine) busy() bool { return len(e.backlog.lines)+len(e.unused) > 0 }

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
		if t.line = slices.DeleteFunc(t.line, func(j *job) bool { return j.dropped }); len(t.line) > 0 {
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
	case len(j.classes) > 0:
		return e.ask(j, limit)
	case !j.asked:
		return e.askedAll(j)
	case j.built < len(j.sets):
		return e.makeSets(j, limit)
	default:
		c := proposal{key: j.key, Policy: j.policy}
		e.setPolicy(c)
		e.endJob(j)
		return 1 + len(c.Sets)
	}
}

// begin acquires the sets of the job, and finds the classes to match.
func (e *Engine) begin(j *job) int {
	j.begun = true
	if j.policy.Staged != "" {
		j.fresh = e.unaskedOf(&j.policy)
	} else {
		for i := range j.policy.Sets {
			s := e.acquireLater(j.policy.Sets[i])
			j.sets = append(j.sets, s)
			if s.selector != nil && !s.selector.asked {
				j.fresh = append(j.fresh, s.selector)
			}
		}
	}
	wide, spaces := false, map[*space]bool{}
	for _, s := range j.fresh {
		if s.space == nil {
			wide = true
		} else {
			spaces[s.space] = true
		}
	}
	if wide {
		j.classes = slices.Collect(e.classes.All)
	} else {
		for space := range spaces {
			for p := range space.places.All {
				j.classes = slices.AppendSeq(j.classes, p.classes.All)
			}
		}
	}
	return 1 + len(j.policy.Sets) + len(j.classes)/16
}

// ask marks some of the classes that the job's selectors may select. The match phase then matches those.
func (e *Engine) ask(j *job, limit int) int {
	done := 0
	for len(j.classes) > 0 && done < limit {
		c := j.classes[len(j.classes)-1]
		j.classes = j.classes[:len(j.classes)-1]
		done += 1 + len(j.fresh)
		if len(c.items) == 0 {
			continue // the class is gone
		}
		if len(j.fresh) > fewSelectors || slices.ContainsFunc(j.fresh, func(s *selector) bool { return s.selects(c) }) {
			done += len(c.matches)
			e.markClass(c, dirtyMatches)
		}
	}
	return done
}

// askedAll is called when all classes are matched. The members are known now: sets beyond the budget are not built. The
// members of a staged policy are counted.
func (e *Engine) askedAll(j *job) int {
	j.asked, j.classes = true, nil
	members := 0
	for _, s := range j.fresh {
		s.asked = true
	}
	if j.policy.Staged != "" {
		e.tenants.unmeasured[e.policies.Get(j.key)] = struct{}{}
		e.endJob(j)
		return 1
	}
	for _, s := range j.sets {
		members += e.charge(e.size(s))
	}
	if members > e.budget.PolicyMembers {
		e.putShut(j.key, j.policy, fitting{hold: true}) // judgeTenants then gives the reason
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
		if !s.sent {
			done += e.size(s)
			e.handOut(s)
		}
	}
	return done
}
