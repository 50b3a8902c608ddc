package calc

import (
	"iter"
	"slices"
	"strings"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// selector is a spec in use, with what it selects as of the last Flush.
type selector struct {
	*expression.Selector
	space   *space // that it is bound to, if it is
	scope   spec.Scope
	number  int32 // for a stable order within the engine
	users   int32 // at 0 the selector is in Engine.unused, and may still be among the matches of classes
	asked   bool  // the selector was matched against every class once
	members []*class
	size    int // networks of the items in the members
	sets    compact.Pointers[ipSet]
	counted compact.Pointers[policy] // whose members those of the selector are; see tenants
	group                            // its policies are those in force whose subject it is; the staged ones are in Engine.staged
}

func (s *selector) key() spec.SelectorKey {
	key := spec.SelectorKey{Scope: s.scope, Expression: s.String()}
	if s.space != nil {
		key.Namespace = s.space.name
	}
	return key
}

func (s *selector) selects(c *class) bool {
	if s.space != nil && s.space != c.place.space || s.scope == spec.Pods && c.place.orchestrator != v3.OrchestratorK8s {
		return false
	}
	return (s.scope == spec.Nodes) == (c.place.kind == itemNode) && s.Evaluate(c)
}

// indexKey is a fact that a selector requires: in a namespace or anywhere, a label with a value, a label, or nothing
// more. A selector is filed under the most telling facts that it has; a class looks under all its facts. What requires
// a namespace and nothing more is filed there.
type indexKey struct {
	namespace, label, value string
	any, node               bool
}

// selectorIndex finds the selectors that may select an item.
type selectorIndex struct {
	files  map[indexKey]compact.Pointers[selector]
	labels map[string]int // how many files speak of a label
	// generation changes when a label is added to labels or removed from it. It is never 0.
	generation uint64
}

// rank orders facts by how few items have them.
func rank(f expression.Fact) int {
	switch {
	case f.Any && (inherited(f.Label) || strings.HasPrefix(f.Label, "projectcalico.org/")):
		return 4
	case f.Any:
		return 3
	case f.Label == v3.LabelOrchestrator:
		return 4
	case f.Label == v3.NamespaceLabelPrefix+v3.LabelName, f.Label == v3.NamespaceLabelPrefix+"kubernetes.io/metadata.name", f.Label == v3.LabelNamespace:
		return 1
	case inherited(f.Label):
		return 2
	}
	return 0
}

func (s *selector) indexKeys() []indexKey {
	key := indexKey{namespace: s.key().Namespace, node: s.scope == spec.Nodes}
	facts, ok := s.Facts(rank)
	if !ok {
		return []indexKey{key}
	}
	keys, seen := make([]indexKey, 0, len(facts)), make(map[indexKey]struct{}, len(facts))
	for _, f := range facts {
		key.label, key.value, key.any = f.Label, f.Value, f.Any
		if _, twice := seen[key]; !twice {
			seen[key] = struct{}{}
			keys = append(keys, key)
		}
	}
	return keys
}

// file adds a selector.
func (e *Engine) file(s *selector) {
	x, keys := &e.index, s.indexKeys()
	e.tally.filed(keys, 1)
	for _, k := range keys {
		if k.label == "" && k.namespace != "" {
			s.space.selectors.Add(s)
			continue
		}
		file := x.files[k]
		file.Add(s)
		x.files[k] = file
		if x.labels[k.label]++; x.labels[k.label] == 1 {
			x.generation++
		}
	}
}

func (e *Engine) unfile(s *selector) {
	x, keys := &e.index, s.indexKeys()
	e.tally.filed(keys, -1)
	for _, k := range keys {
		if k.label == "" && k.namespace != "" {
			s.space.selectors.Remove(s)
			continue
		}
		file := x.files[k]
		if file.Remove(s); file.Len() == 0 {
			delete(x.files, k)
		} else {
			x.files[k] = file
		}
		if x.labels[k.label]--; x.labels[k.label] == 0 {
			delete(x.labels, k.label)
			x.generation++
		}
	}
}

// candidates appends the selectors that may select the class, some perhaps more than once.
func (x *selectorIndex) candidates(c *class, found []*selector) []*selector {
	found = x.files[indexKey{node: c.place.kind == itemNode}].AppendTo(found)
	found = c.place.space.selectors.AppendTo(found)
	for _, label := range [...]string{v3.LabelNamespace, v3.LabelServiceAccount, v3.LabelOrchestrator} {
		if value, ok := c.Get(label); ok {
			found = x.look(c, label, value, found)
		}
	}
	found = x.lookAll(c, c.labels, found)
	for _, p := range c.place.profiles {
		for _, f := range x.spokenOf(p) {
			found = x.look(c, f.Label, f.Value, found)
		}
	}
	return found
}

// spokenOf returns the labels of a profile that the index's files use. It is cached: a profile may have thousands of
// labels and of classes.
func (x *selectorIndex) spokenOf(p *profile) []expression.Fact {
	if p.spokenAt == x.generation {
		return p.spoken
	}
	p.spoken, p.spokenAt = p.spoken[:0], x.generation
	for rest := p.labels.entries(); len(rest) > 0; {
		var number uint32
		var value string
		number, value, rest = rest.next()
		if label := p.names.names[number].text; x.labels[label] > 0 {
			p.spoken = append(p.spoken, expression.Fact{Label: label, Value: value})
		}
	}
	return p.spoken
}

// lookAll appends those that packed labels of the class lead to.
func (x *selectorIndex) lookAll(c *class, l labels, found []*selector) []*selector {
	for rest := l.entries(); len(rest) > 0; {
		var number uint32
		var value string
		number, value, rest = rest.next()
		found = x.look(c, c.place.space.names.names[number].text, value, found)
	}
	return found
}

// look appends those that a label of the class leads to.
func (x *selectorIndex) look(c *class, label, value string, found []*selector) []*selector {
	if x.labels[label] == 0 {
		return found
	}
	key := indexKey{label: label, node: c.place.kind == itemNode}
	for _, key.namespace = range [...]string{"", c.place.space.name} {
		key.value, key.any = value, false
		found = x.files[key].AppendTo(found)
		key.value, key.any = "", true
		found = x.files[key].AppendTo(found)
		if c.place.space.name == "" {
			break
		}
	}
	return found
}

// spec returns what the selector was made from.
func (s *selector) spec() spec.Selector {
	return spec.Selector{Scope: s.scope, Namespace: s.key().Namespace, Expression: s.Selector}
}

// acquireSelector returns the selector with this meaning. The next Flush matches it against all classes. Release it
// after use.
func (e *Engine) acquireSelector(want spec.Selector) *selector {
	s := e.acquireUnasked(want)
	if !s.asked {
		e.fresh = append(e.fresh, s)
	}
	return s
}

// acquireUnasked is acquireSelector, but the selector is not matched.
func (e *Engine) acquireUnasked(want spec.Selector) *selector {
	s := e.selectors.Get(want.Key())
	if s == nil {
		s = &selector{Selector: want.Expression, scope: want.Scope, number: e.nextSelector}
		e.nextSelector++
		if want.Namespace != "" {
			s.space = e.acquireSpace(want.Namespace)
		}
		e.selectors.Add(s)
		e.file(s)
	}
	s.users++
	return s
}

func (e *Engine) releaseSelector(s *selector) {
	if s.users--; s.users > 0 {
		return
	}
	e.selectors.Remove(s)
	e.unfile(s)
	if s.space != nil {
		e.releaseSpace(s.space)
	}
	if len(s.members) > 0 {
		e.unused = append(e.unused, s)
	}
}

// sweep removes unused selectors from the matches of classes. It removes all from a class at once, because many
// selectors may become unused together. It does about limit steps.
func (e *Engine) sweep(limit int) {
	for len(e.unused) > 0 {
		s := e.unused[len(e.unused)-1]
		for len(s.members) > 0 {
			if limit <= 0 {
				return
			}
			c := s.members[len(s.members)-1]
			s.members = s.members[:len(s.members)-1]
			if limit--; c.selectedBy(s) {
				limit -= len(c.matches)
				c.matches = slices.DeleteFunc(c.matches, func(m match) bool { return m.users == 0 })
			}
		}
		s.members = nil
		e.unused = e.unused[:len(e.unused)-1]
	}
	e.unused = nil
}

// resize records that a selector selects more or fewer networks.
func (e *Engine) resize(s *selector, n int) {
	before := e.charge(s.size)
	if s.size += n; e.charge(s.size) != before && s.counted.Len() > 0 {
		e.tenants.resized[s] = struct{}{}
	}
}

// fewSelectors are asked about every class one by one; for more of them the index is faster.
const fewSelectors = 4

// askFresh marks the classes that new selectors may select.
func (e *Engine) askFresh() {
	wide := 0
	for _, s := range e.fresh {
		if s.users > 0 && s.space == nil {
			wide++
		}
	}
	for _, s := range e.fresh {
		s.asked = true
		switch {
		case s.users == 0:
		case s.space != nil:
			e.tally.namespaceScoped++
			for p := range s.space.places.All {
				e.askClasses(s, p.classes.All)
			}
		case wide <= fewSelectors:
			e.tally.full++
			e.askClasses(s, e.classes.All)
		}
	}
	if wide > fewSelectors {
		e.tally.full++
		for c := range e.classes.All {
			e.markClass(c, dirtyMatches)
		}
	}
	e.fresh = nil
}

func (e *Engine) askClasses(s *selector, classes iter.Seq[*class]) {
	asked, matched := 0, 0
	for c := range classes {
		e.progress.Add(1)
		if e.dirtyClasses[c] == dirtyMatches {
			continue
		}
		if asked++; s.selects(c) {
			matched++
			e.markClass(c, dirtyMatches)
		}
	}
	e.tally.evaluated(asked, matched)
}

// match makes the class a member of the selectors that select it and of no others.
func (e *Engine) match(c *class) {
	found := e.index.candidates(c, e.scratch[:0])
	slices.SortFunc(found, func(a, b *selector) int { return int(a.number - b.number) })
	found = slices.Compact(found)
	asked := len(found)
	found = slices.DeleteFunc(found, func(s *selector) bool { return !s.selects(c) })
	e.tally.evaluated(asked, len(found))
	e.scratch = found
	if slices.EqualFunc(found, c.matches, func(s *selector, m match) bool { return s == m.selector }) {
		return
	}
	before, now := c.matches, make([]match, 0, len(found))
	for len(before) > 0 || len(found) > 0 {
		switch {
		case len(found) == 0 || len(before) > 0 && before[0].number < found[0].number:
			e.noteMember(before[0].selector, c)
			before[0].leave()
			e.resize(before[0].selector, -c.nets)
			before = before[1:]
		case len(before) == 0 || found[0].number < before[0].number:
			s := found[0]
			e.noteMember(s, c)
			now = append(now, match{s, int32(len(s.members))})
			s.members = append(s.members, c)
			e.resize(s, c.nets)
			found = found[1:]
		default:
			now = append(now, before[0])
			before, found = before[1:], found[1:]
		}
	}
	c.matches = now
	if cap(e.scratch) > 1<<16 {
		e.scratch = nil
	}
}
