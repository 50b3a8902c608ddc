package calc

import (
	"math"
	"slices"
)

// backlog is the policies that take long to be put in place. Each is a job, which Step does a part of: it has selectors that are
// new ask the classes, then makes the sets, then puts the policy there. Until then the policy is as it was before, and one
// that is new allows nothing. Namespaces take turns, so that the jobs of one do not wait for all of another's.
type backlog struct {
	jobs  map[policyKey]*job
	lines []*tenant // that have jobs, in turn
}

// job puts one policy in place.
type job struct {
	key      policyKey
	compiled compiled
	begun    bool
	dropped  bool        // there is a newer state of the policy
	sets     []*ipSet    // held until the policy holds them
	fresh    []*selector // that no class was asked about yet
	classes  []*class    // that are still to be asked
	asked    bool
	built    int // sets that are made
}

// lightWork is how many steps of asking and making sets a policy may cost to be put in place at once.
const lightWork = 20_000

// unbounded is the bound of a step that does everything.
const unbounded = math.MaxInt

// propose puts a policy in place, or has a job do it, and says whether there is now something that was not there before.
func (e *Engine) propose(key policyKey, c compiled) bool {
	if j := e.backlog.jobs[key]; j != nil {
		return false // it does just that
	}
	if c.shut != nil || c.staged != "" || e.workOf(&c) <= e.lightWork {
		e.setPolicy(key, c)
		return true
	}
	if e.policies.get(key) == nil {
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

// workOf estimates what it takes to put a policy in place.
func (e *Engine) workOf(c *compiled) int {
	all, spaces := e.classes.size(), map[string]int{}
	work := 0
	for i := range c.sets {
		want := &c.sets[i]
		if s := e.sets.get(want.name); s != nil && s.sent {
			continue
		}
		if want.service != nil {
			work += 1 + e.services.size(*want.service)
			continue
		}
		if s := e.selectors.get(want.items.key()); s != nil && s.asked {
			work += 1 + s.size
			continue
		}
		classes := all
		if ns := want.items.namespace; ns != "" {
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

// classesIn counts the classes of a namespace.
func (e *Engine) classesIn(ns string) int {
	n := 0
	if space := e.spaces.get(ns); space != nil {
		for p := range space.places.all {
			n += p.classes.size()
		}
	}
	return n
}

// busy says that there is work which a Step leaves to the next one.
func (e *Engine) busy() bool { return len(e.backlog.lines)+len(e.unused) > 0 }

// work does one part of a job of each namespace, up to a bound, and says whether there was any.
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

// advance does a part of the first job of a namespace, and gives about what it took.
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

// begin has the sets of the job in use, and finds the classes to ask.
func (e *Engine) begin(j *job) int {
	j.begun = true
	wide, spaces := false, map[*space]bool{}
	for i := range j.compiled.sets {
		s := e.acquireLater(j.compiled.sets[i])
		j.sets = append(j.sets, s)
		switch {
		case s.selector == nil || s.selector.asked:
			continue
		case s.selector.space == nil:
			wide = true
		default:
			spaces[s.selector.space] = true
		}
		j.fresh = append(j.fresh, s.selector)
	}
	if wide {
		j.classes = slices.Collect(e.classes.all)
	} else {
		for space := range spaces {
			for p := range space.places.all {
				j.classes = slices.AppendSeq(j.classes, p.classes.all)
			}
		}
	}
	return 1 + len(j.sets) + len(j.classes)/16
}

// ask marks some classes that the job's selectors may select, which match then asks.
func (e *Engine) ask(j *job, limit int) int {
	done := 0
	for len(j.classes) > 0 && done < limit {
		c := j.classes[len(j.classes)-1]
		j.classes = j.classes[:len(j.classes)-1]
		done += 1 + len(j.fresh)
		if len(c.items) == 0 {
			continue // it is gone
		}
		if len(j.fresh) > fewSelectors || slices.ContainsFunc(j.fresh, func(s *selector) bool { return s.selects(c) }) {
			done += len(c.matches)
			e.markClass(c, dirtyMatches)
		}
	}
	return done
}

// askedAll comes when all classes have been matched. Now the members are known: sets that do not fit are not made.
func (e *Engine) askedAll(j *job) int {
	j.asked, j.classes = true, nil
	members := 0
	for _, s := range j.fresh {
		s.asked = true
	}
	for _, s := range j.sets {
		members += e.charge(e.size(s))
	}
	if members > e.budget.PolicyMembers {
		key, c := j.key, j.compiled
		e.putShut(key, c, true) // the next judgement says why
		e.endJob(j)
	}
	return 1 + len(j.sets)
}

// makeSets hands out some of the sets; until the policy is there no node needs them.
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
