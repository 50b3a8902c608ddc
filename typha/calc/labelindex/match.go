package labelindex

import (
	"iter"
	"slices"
)

// fewSelectors are evaluated on every group one by one. For more selectors, matching every group by its facts is
// faster.
const fewSelectors = 4

// enqueue has the next Flush match a group.
func (x *Index) enqueue(g *Group) {
	if !g.queued {
		g.queued = true
		x.queue = append(x.queue, g)
	}
}

// Match has the next Flush find the groups that a selector selects, unless they are known.
func (x *Index) Match(s *Selector) {
	if !s.matched {
		x.unmatched = append(x.unmatched, s)
	}
}

// Flush finds what new selectors select, and what selects groups that are new or have other labels. It tells the
// observers what changed.
func (x *Index) Flush() {
	x.matchSelectors()
	for len(x.queue) > 0 {
		queue := x.queue
		x.queue = nil
		for _, g := range queue {
			g.queued = false
			if len(g.items) > 0 {
				x.steps.Add(1)
				x.matchGroup(g)
			}
		}
	}
}

// matchSelectors enqueues the groups that the new selectors may select.
func (x *Index) matchSelectors() {
	wide := 0
	for _, s := range x.unmatched {
		if s.users > 0 && s.namespace == nil {
			wide++
		}
	}
	for _, s := range x.unmatched {
		s.matched = true
		switch {
		case s.users == 0:
		case s.namespace != nil:
			x.stats.NamespaceScans++
			x.evaluate(s, s.namespace.groups)
		case wide <= fewSelectors:
			x.stats.FullScans++
			x.evaluate(s, x.groups.All)
		}
	}
	if wide > fewSelectors {
		x.stats.FullScans++
		for g := range x.groups.All {
			x.enqueue(g)
		}
	}
	x.unmatched = nil
}

// groups iterates over the groups in the namespace.
func (n *namespace) groups(yield func(*Group) bool) {
	for o := range n.origins.All {
		for g := range o.groups.All {
			if !yield(g) {
				return
			}
		}
	}
}

// evaluate enqueues those of the groups that a selector selects.
func (x *Index) evaluate(s *Selector, groups iter.Seq[*Group]) {
	evaluated, selected := 0, 0
	for g := range groups {
		x.steps.Add(1)
		if g.queued {
			continue
		}
		evaluated++
		if s.Selects(g) {
			selected++
			x.enqueue(g)
		}
	}
	x.stats.evaluated(evaluated, selected)
}

// matchGroup finds the selectors that select a group, and tells the observers what differs.
func (x *Index) matchGroup(g *Group) {
	found := x.candidates(g, x.scratch[:0])
	slices.SortFunc(found, func(a, b *Selector) int { return int(a.number - b.number) })
	found = slices.Compact(found)
	evaluated := len(found)
	found = slices.DeleteFunc(found, func(s *Selector) bool { return !s.Selects(g) })
	x.stats.evaluated(evaluated, len(found))
	x.scratch = found
	if !slices.EqualFunc(found, g.matches, func(s *Selector, m match) bool { return s == m.Selector }) {
		x.setMatches(g, found)
	}
	if cap(x.scratch) > 1<<16 {
		x.scratch = nil
	}
}

// setMatches replaces the selectors that select a group. Both lists are sorted by the selectors' numbers.
func (x *Index) setMatches(g *Group, found []*Selector) {
	before, now := g.matches, make([]match, 0, len(found))
	for len(before) > 0 || len(found) > 0 {
		switch {
		case len(found) == 0 || len(before) > 0 && before[0].number < found[0].number:
			before[0].leave()
			x.selectionChanged(before[0].Selector, g, false)
			before = before[1:]
		case len(before) == 0 || found[0].number < before[0].number:
			s := found[0]
			now = append(now, match{s, int32(len(s.groups))})
			s.groups = append(s.groups, g)
			x.selectionChanged(s, g, true)
			found = found[1:]
		default:
			now = append(now, before[0])
			before, found = before[1:], found[1:]
		}
	}
	g.matches = now
}

// selectionChanged tells the observers that a selector selects a group from now on, or no longer.
func (x *Index) selectionChanged(s *Selector, g *Group, selected bool) {
	for _, o := range x.observers {
		o.SelectionChanged(s, g, selected)
	}
	n := int(g.networks)
	if !selected {
		n = -n
	}
	x.resize(s, n)
}

// Scan matches selectors against the groups that they may select, in steps. Groups that come later are matched when
// they come. A selector counts as matched after Finish.
type Scan struct {
	selectors []*Selector
	groups    []*Group // that are still to be matched
}

// NewScan returns a scan for selectors that are not matched yet.
func (x *Index) NewScan(selectors []*Selector) *Scan {
	s := &Scan{selectors: selectors}
	spaces := map[*namespace]bool{}
	for _, selector := range selectors {
		if selector.namespace == nil {
			s.groups = slices.Collect(x.groups.All)
			return s
		}
		spaces[selector.namespace] = true
	}
	for n := range spaces {
		s.groups = slices.AppendSeq(s.groups, n.groups)
	}
	return s
}

// Remaining returns the number of groups that are still to be matched.
func (s *Scan) Remaining() int { return len(s.groups) }

// Step evaluates the selectors on some of the groups, and has the next Flush match those groups that they may select.
// It returns an estimate of the work, which is about limit unless the scan is at its end.
func (s *Scan) Step(x *Index, limit int) int {
	done := 0
	for len(s.groups) > 0 && done < limit {
		g := s.groups[len(s.groups)-1]
		s.groups = s.groups[:len(s.groups)-1]
		done += 1 + len(s.selectors)
		if len(g.items) == 0 {
			continue // the group was dropped
		}
		selects := func(selector *Selector) bool { return selector.Selects(g) }
		if len(s.selectors) > fewSelectors || slices.ContainsFunc(s.selectors, selects) {
			done += len(g.matches)
			x.enqueue(g)
		}
	}
	return done
}

// Finish ends a scan without remaining groups, after the Flush that followed the last Step.
func (s *Scan) Finish() {
	for _, selector := range s.selectors {
		selector.matched = true
	}
	s.selectors, s.groups = nil, nil
}
