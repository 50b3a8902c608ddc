package calc

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
)

// scope bounds which items a selector is asked about, beside its expression.
type scope uint8

const (
	scopeAll  scope = iota // endpoints and network sets
	scopePods              // pods
	scopeNodes
)

// spec says which items are meant. An empty namespace is every one, and none.
type spec struct {
	scope     scope
	namespace string
	*expression.Selector
}

// specKey is what specs of one meaning have in common.
type specKey struct {
	scope           scope
	namespace, text string
}

func (s spec) key() specKey { return specKey{s.scope, s.namespace, s.String()} }

// appendCanonical appends a text that no spec of another meaning has.
func (s spec) appendCanonical(to []byte) []byte {
	to = strconv.AppendQuote(append(to, '0'+byte(s.scope), ' '), s.namespace)
	return append(append(to, ' '), s.String()...)
}

func (s spec) selects(it *item) bool {
	if !it.selectable() || s.namespace != "" && s.namespace != it.place.namespace {
		return false
	}
	switch s.scope {
	case scopePods:
		if it.place.orchestrator != v3.OrchestratorK8s {
			return false
		}
	case scopeNodes:
		return it.key.kind == itemNode && s.Evaluate(it)
	}
	return it.key.kind != itemNode && s.Evaluate(it)
}

// selector is a spec in use, with the items that it selects as of the last Flush.
type selector struct {
	spec
	number  int32 // for a stable order within the engine
	users   int32
	members []*item
	sets    []*ipSet
	inForce []*policy // whose subject it is
	staged  []*policy // likewise
	stacks  []*stack
	group
}

// match is a selector that selects an item, and where in its members the item is.
type match struct {
	*selector
	at int32
}

// leave takes the item out of the selector's members, whose last one takes its place.
func (m match) leave() {
	last := m.members[len(m.members)-1]
	i, _ := last.find(m.selector)
	last.matches[i].at = m.at
	m.members[m.at], m.members[len(m.members)-1] = last, nil
	m.members = m.members[:len(m.members)-1]
}

// find says whether a selector selects the item, as of the last Flush, and where in its matches that is.
func (it *item) find(s *selector) (int, bool) {
	return slices.BinarySearchFunc(it.matches, s.number, func(m match, number int32) int { return cmp.Compare(m.number, number) })
}

func (it *item) selectedBy(s *selector) bool {
	_, is := it.find(s)
	return is
}

// indexKey is a fact that a selector requires: in a namespace or anywhere, a label with a value, a label, or nothing
// more. A selector is filed under the most telling facts that it has; an item looks under all its facts.
type indexKey struct {
	namespace, label, value string
	any, node               bool
}

// selectorIndex finds the selectors that may select an item.
type selectorIndex struct {
	files  map[indexKey][]*selector
	labels map[string]int // how many files speak of a label
}

// rank orders facts by how few items have them.
func rank(f expression.Fact) int {
	inherited := strings.HasPrefix(f.Label, v3.NamespaceLabelPrefix) || strings.HasPrefix(f.Label, v3.ServiceAccountLabelPrefix)
	switch {
	case f.Any && (inherited || strings.HasPrefix(f.Label, "projectcalico.org/")):
		return 4
	case f.Any:
		return 3
	case f.Label == v3.LabelOrchestrator:
		return 4
	case f.Label == v3.NamespaceLabelPrefix+v3.LabelName, f.Label == v3.NamespaceLabelPrefix+"kubernetes.io/metadata.name", f.Label == v3.LabelNamespace:
		return 1
	case inherited:
		return 2
	}
	return 0
}

func (s *selector) indexKeys() []indexKey {
	key := indexKey{namespace: s.namespace, node: s.scope == scopeNodes}
	facts, ok := s.Facts(rank)
	if !ok {
		return []indexKey{key}
	}
	keys := make([]indexKey, 0, len(facts))
	for _, f := range facts {
		key.label, key.value, key.any = f.Label, f.Value, f.Any
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (x *selectorIndex) add(s *selector) {
	for _, k := range s.indexKeys() {
		x.files[k] = append(x.files[k], s)
		x.labels[k.label]++
	}
}

func (x *selectorIndex) remove(s *selector) {
	for _, k := range s.indexKeys() {
		if x.files[k] = without(x.files[k], s); len(x.files[k]) == 0 {
			delete(x.files, k)
		}
		if x.labels[k.label]--; x.labels[k.label] == 0 {
			delete(x.labels, k.label)
		}
	}
}

// candidates appends the selectors that may select the item, some perhaps more than once.
func (x *selectorIndex) candidates(it *item, found []*selector) []*selector {
	key := indexKey{node: it.key.kind == itemNode}
	look := func(label, value string) {
		for key.namespace = ""; ; {
			key.label, key.value, key.any = label, value, false
			found = append(found, x.files[key]...)
			if label != "" {
				key.value, key.any = "", true
				found = append(found, x.files[key]...)
			}
			if key.namespace != "" {
				return
			}
			if key.namespace = it.place.namespace; key.namespace == "" {
				return
			}
		}
	}
	each := func(l labels) {
		for len(l) > 0 {
			var label, value string
			if label, value, l = l.next(); x.labels[label] > 0 {
				look(label, value)
			}
		}
	}
	look("", "")
	for _, label := range [...]string{v3.LabelNamespace, v3.LabelServiceAccount, v3.LabelOrchestrator} {
		if value, ok := it.Get(label); ok && x.labels[label] > 0 {
			look(label, value)
		}
	}
	each(it.labels.Value())
	for _, p := range it.place.profiles {
		each(p.labels)
	}
	return found
}

// acquireSelector gives the selector in use with this meaning; release it after use.
func (e *Engine) acquireSelector(want spec) *selector {
	key := want.key()
	s := e.selectors[key]
	if s == nil {
		s = &selector{spec: want, number: e.nextSelector}
		e.nextSelector++
		e.selectors[key] = s
		e.index.add(s)
		e.fresh = append(e.fresh, s)
	}
	s.users++
	return s
}

func (e *Engine) releaseSelector(s *selector) {
	if s.users--; s.users > 0 {
		return
	}
	delete(e.selectors, s.key())
	e.index.remove(s)
	for _, it := range s.members {
		it.matches = slices.DeleteFunc(it.matches, func(m match) bool { return m.selector == s })
	}
	s.members = nil
}

// fewSelectors are asked about every item one by one; for more of them the index is faster.
const fewSelectors = 4

// askFresh marks the items that new selectors may select.
func (e *Engine) askFresh() {
	wide := 0
	for _, s := range e.fresh {
		if s.users > 0 && s.namespace == "" {
			wide++
		}
	}
	for _, s := range e.fresh {
		switch {
		case s.users == 0:
		case s.namespace != "":
			for _, p := range e.places[s.namespace] {
				e.askItems(s, p.items)
			}
		case wide <= fewSelectors:
			for _, places := range e.places {
				for _, p := range places {
					e.askItems(s, p.items)
				}
			}
		}
	}
	if wide > fewSelectors {
		for _, items := range e.items {
			for _, it := range items {
				e.mark(it, dirtyMatches)
			}
		}
	}
	e.fresh = nil
}

func (e *Engine) askItems(s *selector, items []*item) {
	for _, it := range items {
		if it.dirty&dirtyMatches == 0 && s.selects(it) {
			e.mark(it, dirtyMatches)
		}
	}
}

// match makes the item a member of the selectors that select it and of no others.
func (e *Engine) match(it *item) {
	found := e.scratch[:0]
	if it.selectable() {
		found = e.index.candidates(it, found)
		slices.SortFunc(found, func(a, b *selector) int { return int(a.number - b.number) })
		found = slices.Compact(found)
		found = slices.DeleteFunc(found, func(s *selector) bool { return !s.selects(it) })
	}
	e.scratch = found
	if slices.EqualFunc(found, it.matches, func(s *selector, m match) bool { return s == m.selector }) {
		return
	}
	before, now := it.matches, make([]match, 0, len(found))
	for len(before) > 0 || len(found) > 0 {
		switch {
		case len(found) == 0 || len(before) > 0 && before[0].number < found[0].number:
			e.noteMember(before[0].selector, it)
			before[0].leave()
			before = before[1:]
		case len(before) == 0 || found[0].number < before[0].number:
			s := found[0]
			e.noteMember(s, it)
			now = append(now, match{s, int32(len(s.members))})
			s.members = append(s.members, it)
			found = found[1:]
		default:
			now = append(now, before[0])
			before, found = before[1:], found[1:]
		}
	}
	it.matches = now
	if cap(e.scratch) > 1<<16 {
		e.scratch = nil
	}
	e.mark(it, dirtyStack)
}
