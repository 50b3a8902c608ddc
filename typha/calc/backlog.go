package calc

import (
	"math"
	"slices"
)

// backlog holds the policies that take long to put in place. Each policy is a job, and a Step does a part of it. A job
// matches its new selectors against the classes, then builds the sets, then puts the policy in place. Until then the
// former policy stays in place; a policy without a former one allows nothing. Namespaces take turns, so that the jobs
// of one namespace do not wait for all jobs of another.
//
// A staged policy is in place at once, since no node gets it. Its job only matches its selectors, so that their members
// can be counted. Explain evaluates the selectors that are not matched yet.
type backlog struct {
	jobs  map[policyKey]*job
	lines []*tenant // tenants with jobs, in the order of their turns
}

// job puts one policy in place, or counts the members of a staged one.
type job struct {
	key      policyKey
	compiled compiled
	begun    bool
	dropped  bool        // there is a newer state of the policy
	sets     []*ipSet    // held until the policy holds them; none of a staged one
	fresh    []*selector // selectors that are not matched against the classes yet
	classes  []*class    // classes that are still to be matched
	asked    bool        // all classes are matched
	built    int         // number of sets that are built
}

// lightWork is the largest estimate of work with which a policy is put in place at once.
const lightWork = 20_000

// unbounded is the limit of a Step that does everything.
const unbounded = math.MaxInt

// propose puts a policy in place, or starts a job that does. It reports whether anything changed.
func (e *Engine) propose(key policyKey, c compiled) bool {
	if j := e.backlog.jobs[key]; j != nil {
		return false // the job already puts this policy in place
	}
	light := c.shut != nil || e.workOf(&c) <= e.lightWork
	switch {
	case c.staged != "":
		e.setPolicy(key, c)
		if light {
			e.fresh = append(e.fresh, e.unaskedOf(&c)...)
			return true
		}
	case light:
		e.setPolicy(key, c)
		return true
	case e.policies.Get(key) == nil:
		closed := c
		policy := *c.policy
		closed.policy, closed.cost = &policy, cost{}
		closed.close()
		e.setPolicy(key, closed)
	}
	j := &job{key: key, compiled: c}
	e.backlog.jobs[key] = j
	t := e.tenant(key.namespace)
	if t.line = append(t.line, j); len(t.line) == 1 {
		e.backlog.lines = append(e.backlog.lines, t)
	}
	return true
}

// unaskedOf returns the selectors of a staged policy that are not matched against the classes.
func (e *Engine) unaskedOf(c *compiled) []*selector {
	var unasked []*selector
	for i := range c.sets {
		if c.sets[i].Service != nil {
			continue
		}
		if s := e.selectors.Get(c.sets[i].Items.Key()); !s.asked {
			unasked = append(unasked, s)
		}
	}
	return unasked
}

// cancel ends the job of a policy, if there is one.
func (e *Engine) cancel(key policyKey) {
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
func (e *Engine) workOf(c *compiled) int {
	all, spaces := e.classes.Len(), map[string]int{}
	work := 0
	for i := range c.sets {
		want := &c.sets[i]
		if s := e.sets.Get(want.Name); s != nil && s.sent {
			continue
		}
		if size, known := e.sizeOf(want); known {
			work++
			if c.staged == "" {
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
		key, c := j.key, j.compiled
		e.setPolicy(key, c)
		e.endJob(j)
		return 1 + len(c.sets)
	}
}

// begin acquires the sets of the job, and finds the classes to match.
func (e *Engine) begin(j *job) int {
	j.begun = true
	if j.compiled.staged != "" {
		j.fresh = e.unaskedOf(&j.compiled)
	} else {
		for i := range j.compiled.sets {
			s := e.acquireLater(j.compiled.sets[i])
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
	return 1 + len(j.compiled.sets) + len(j.classes)/16
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
	if j.compiled.staged != "" {
		e.tenants.unmeasured[e.policies.Get(j.key)] = struct{}{}
		e.endJob(j)
		return 1
	}
	for _, s := range j.sets {
		members += e.charge(e.size(s))
	}
	if members > e.budget.PolicyMembers {
		key, c := j.key, j.compiled
		e.putShut(key, c, fitting{hold: true}) // judgeTenants then gives the reason
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
