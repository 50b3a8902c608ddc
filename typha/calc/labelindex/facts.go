package labelindex

import (
	"slices"
	"strings"

	expression "github.com/maneki-net/maneki/api/selector"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// fact is something that a selector requires of an item: in a namespace or anywhere, a label with a value, a label with
// any value, or nothing more. A selector is filed under the rarest facts of which it requires one; a group looks under
// all its facts.
type fact struct {
	namespace, label, value string
	any, node               bool
}

// factIndex finds the selectors that may select a group. Those that require a namespace and nothing more are filed with
// the namespace instead.
type factIndex struct {
	files map[fact]compact.Pointers[Selector] // none is empty
	// labels counts the files of each label. A label without a file is not in it.
	labels map[string]int
	// generation changes when a label is added to labels or removed from it. It is never 0.
	generation uint64
}

func newFactIndex() factIndex {
	return factIndex{files: map[fact]compact.Pointers[Selector]{}, labels: map[string]int{}, generation: 1}
}

// rank orders facts by how few items have them.
func rank(f expression.Fact) int {
	switch {
	case f.Any && (isInherited(f.Label) || strings.HasPrefix(f.Label, "projectcalico.org/")):
		return 4
	case f.Any:
		return 3
	}
	switch f.Label {
	case v3.LabelOrchestrator:
		return 4
	case v3.LabelNamespace, v3.NamespaceLabelPrefix + v3.LabelName,
		v3.NamespaceLabelPrefix + "kubernetes.io/metadata.name":
		return 1
	}
	if isInherited(f.Label) {
		return 2
	}
	return 0
}

// facts returns the facts under which the selector is filed, each once.
func (s *Selector) facts() []fact {
	f := fact{node: s.scope == spec.Nodes}
	if s.namespace != nil {
		f.namespace = s.namespace.name
	}
	required, ok := s.expression.Facts(rank)
	if !ok {
		return []fact{f}
	}
	list, seen := make([]fact, 0, len(required)), make(map[fact]struct{}, len(required))
	for _, r := range required {
		f.label, f.value, f.any = r.Label, r.Value, r.Any
		if _, twice := seen[f]; !twice {
			seen[f] = struct{}{}
			list = append(list, f)
		}
	}
	return list
}

// file files a selector.
func (x *Index) file(s *Selector) {
	facts := s.facts()
	x.stats.filed(facts, 1)
	for _, f := range facts {
		if f.label == "" && f.namespace != "" {
			s.namespace.selectors.Add(s)
			continue
		}
		file := x.facts.files[f]
		file.Add(s)
		x.facts.files[f] = file
		x.facts.labels[f.label]++
		if x.facts.labels[f.label] == 1 {
			x.facts.generation++
		}
	}
}

// unfile reverses file.
func (x *Index) unfile(s *Selector) {
	facts := s.facts()
	x.stats.filed(facts, -1)
	for _, f := range facts {
		if f.label == "" && f.namespace != "" {
			s.namespace.selectors.Remove(s)
			continue
		}
		file := x.facts.files[f]
		file.Remove(s)
		if file.Len() == 0 {
			delete(x.facts.files, f)
		} else {
			x.facts.files[f] = file
		}
		x.facts.labels[f.label]--
		if x.facts.labels[f.label] == 0 {
			delete(x.facts.labels, f.label)
			x.facts.generation++
		}
	}
}

// filed counts n selectors that are filed under these facts.
func (t *Stats) filed(facts []fact, n int) {
	if slices.ContainsFunc(facts, func(f fact) bool { return f.label == "" && f.namespace == "" }) {
		t.Unindexed += n
	} else {
		t.Indexed += n
	}
}

// candidates appends the selectors that may select the group, some perhaps more than once.
func (x *Index) candidates(g *Group, found []*Selector) []*Selector {
	found = x.facts.files[fact{node: g.origin.kind == Node}].AppendTo(found)
	found = g.origin.namespace.selectors.AppendTo(found)
	for _, label := range [...]string{v3.LabelNamespace, v3.LabelServiceAccount, v3.LabelOrchestrator} {
		if value, ok := g.Get(label); ok {
			found = x.facts.look(g, label, value, found)
		}
	}
	for rest := g.labels.entries(); len(rest) > 0; {
		var number uint32
		var value string
		number, value, rest = rest.next()
		found = x.facts.look(g, x.names.names[number].text, value, found)
	}
	for _, p := range g.origin.profiles {
		for _, f := range x.filedLabels(p) {
			found = x.facts.look(g, f.Label, f.Value, found)
		}
	}
	return found
}

// filedLabels returns the labels of a profile under which selectors are filed. It remembers them: a profile may have
// thousands of labels and of groups.
func (x *Index) filedLabels(p *Profile) []expression.Fact {
	if p.filedAt == x.facts.generation {
		return p.filed
	}
	p.filed, p.filedAt = p.filed[:0], x.facts.generation
	for label, value := range x.names.each(p.labels) {
		if x.facts.labels[label] > 0 {
			p.filed = append(p.filed, expression.Fact{Label: label, Value: value})
		}
	}
	return p.filed
}

// look appends the selectors that are filed under a label of the group.
func (i *factIndex) look(g *Group, label, value string, found []*Selector) []*Selector {
	if i.labels[label] == 0 {
		return found
	}
	f := fact{label: label, node: g.origin.kind == Node}
	for _, f.namespace = range [...]string{"", g.origin.namespace.name} {
		f.value, f.any = value, false
		found = i.files[f].AppendTo(found)
		f.value, f.any = "", true
		found = i.files[f].AppendTo(found)
		if g.origin.namespace.name == "" {
			break
		}
	}
	return found
}
