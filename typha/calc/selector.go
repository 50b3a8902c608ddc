package calc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// requirement is one condition on labels. matchLabels are In with one value.
type requirement struct {
	key    string
	op     metav1.LabelSelectorOperator
	values []string // sorted
}

func (r requirement) matches(labels map[string]string) bool {
	value, has := labels[r.key]
	switch r.op {
	case metav1.LabelSelectorOpIn:
		return has && slices.Contains(r.values, value)
	case metav1.LabelSelectorOpNotIn:
		return !has || !slices.Contains(r.values, value)
	case metav1.LabelSelectorOpExists:
		return has
	default:
		return !has
	}
}

func matchAll(requirements []requirement, labels map[string]string) bool {
	for _, r := range requirements {
		if !r.matches(labels) {
			return false
		}
	}
	return true
}

// compileSelector gives the requirements of a selector in a canonical order. What
// cannot be read is left out and reported as an error: a superset of what was meant remains.
func compileSelector(s *metav1.LabelSelector) ([]requirement, error) {
	var requirements []requirement
	var errs []error
	for key, value := range s.MatchLabels {
		requirements = append(requirements, requirement{key, metav1.LabelSelectorOpIn, []string{value}})
	}
	for _, expression := range s.MatchExpressions {
		values := slices.Clone(expression.Values)
		slices.Sort(values)
		r := requirement{expression.Key, expression.Operator, slices.Compact(values)}
		switch r.op {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
			if len(values) == 0 {
				errs = append(errs, fmt.Errorf("selector on label %q: %s needs at least one value", r.key, r.op))
				continue
			}
		case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
			if len(values) > 0 {
				errs = append(errs, fmt.Errorf("selector on label %q: %s takes no values", r.key, r.op))
				continue
			}
		default:
			errs = append(errs, fmt.Errorf("selector on label %q: operator %q is none of In, NotIn, Exists, DoesNotExist", r.key, r.op))
			continue
		}
		requirements = append(requirements, r)
	}
	slices.SortFunc(requirements, func(a, b requirement) int { return strings.Compare(a.canonical(), b.canonical()) })
	return slices.CompactFunc(requirements, func(a, b requirement) bool { return a.canonical() == b.canonical() }), errors.Join(errs...)
}

func (r requirement) canonical() string {
	quoted := make([]string, len(r.values))
	for i, v := range r.values {
		quoted[i] = strconv.Quote(v)
	}
	return strconv.Quote(r.key) + " " + string(r.op) + " (" + strings.Join(quoted, ",") + ")"
}

func canonical(requirements []requirement) string {
	parts := make([]string, len(requirements))
	for i, r := range requirements {
		parts[i] = r.canonical()
	}
	return strings.Join(parts, " && ")
}

// podSelector says which pods are meant: those of one namespace, or of the namespaces with certain
// labels, that have certain labels.
type podSelector struct {
	namespace string // empty: see namespaces
	// namespaces are what the labels of the pod's Namespace must meet; none is every namespace.
	namespaces []requirement
	pods       []requirement
}

func (s podSelector) canonical() string {
	if s.namespace != "" {
		return "in " + s.namespace + ": " + canonical(s.pods)
	}
	return "where " + canonical(s.namespaces) + ": " + canonical(s.pods)
}

// selector is a podSelector in use, with the pods that it selects.
type selector struct {
	podSelector
	id       string
	users    int
	members  map[*pod]struct{}
	sets     map[*ipSet]struct{}
	policies map[*policy]struct{} // whose subject it is
}

func (s *selector) selectsNamespace(ns *namespace) bool {
	if s.namespace != "" {
		return s.namespace == ns.name
	}
	return len(s.namespaces) == 0 || ns.known && matchAll(s.namespaces, ns.labels)
}

func (s *selector) selects(p *pod) bool {
	return p.eligible() && s.selectsNamespace(p.namespace) && matchAll(s.pods, p.labels)
}

// indexKey is a fact about a pod that a selector requires. A selector is filed under one
// fact, or under each value of an In, the most telling it has; a pod looks under all its facts.
type indexKey struct {
	scope      byte
	namespace  string
	key, value string
}

const (
	scopeAll            byte = iota // every pod
	scopeNamespace                  // pods in namespace
	scopeNamespaceLabel             // pods in namespaces with a label
	scopeLabel                      // pods with a label
	scopeLabelInNS                  // pods in namespace with a label
)

// indexKeys gives the facts under which to file.
func (s *selector) indexKeys() []indexKey {
	const nameLabel = "kubernetes.io/metadata.name" // selects one namespace, so it tells most
	in := func(requirements []requirement, scope byte, want string) (keys []indexKey) {
		for _, r := range requirements {
			if r.op != metav1.LabelSelectorOpIn || want != "" && r.key != want {
				continue
			}
			for _, v := range r.values {
				keys = append(keys, indexKey{scope, s.namespace, r.key, v})
			}
			return keys
		}
		return nil
	}
	if s.namespace != "" {
		if keys := in(s.pods, scopeLabelInNS, ""); keys != nil {
			return keys
		}
		return []indexKey{{scope: scopeNamespace, namespace: s.namespace}}
	}
	if keys := in(s.namespaces, scopeNamespaceLabel, nameLabel); keys != nil {
		return keys
	}
	if keys := in(s.pods, scopeLabel, ""); keys != nil {
		return keys
	}
	if keys := in(s.namespaces, scopeNamespaceLabel, ""); keys != nil {
		return keys
	}
	return []indexKey{{scope: scopeAll}}
}

// candidates passes the selectors that may select the pod, each once.
func (e *Engine) candidates(p *pod, visit func(*selector)) {
	look := func(k indexKey) {
		for s := range e.index[k] {
			visit(s)
		}
	}
	look(indexKey{scope: scopeAll})
	look(indexKey{scope: scopeNamespace, namespace: p.key.namespace})
	for k, v := range p.namespace.labels {
		look(indexKey{scopeNamespaceLabel, "", k, v})
	}
	for k, v := range p.labels {
		look(indexKey{scopeLabel, "", k, v})
		look(indexKey{scopeLabelInNS, p.key.namespace, k, v})
	}
}

// acquireSelector gives the selector in use with this meaning; release it after use.
func (e *Engine) acquireSelector(spec podSelector) *selector {
	id := spec.canonical()
	if s := e.selectors[id]; s != nil {
		s.users++
		return s
	}
	s := &selector{podSelector: spec, id: id, users: 1, members: map[*pod]struct{}{},
		sets: map[*ipSet]struct{}{}, policies: map[*policy]struct{}{}}
	e.selectors[id] = s
	for _, k := range s.indexKeys() {
		if e.index[k] == nil {
			e.index[k] = map[*selector]struct{}{}
		}
		e.index[k][s] = struct{}{}
	}
	if s.namespace != "" {
		if ns := e.namespaces[s.namespace]; ns != nil {
			e.findMembers(s, ns)
		}
		return s
	}
	for _, ns := range e.namespaces {
		e.findMembers(s, ns)
	}
	return s
}

func (e *Engine) findMembers(s *selector, ns *namespace) {
	if !s.selectsNamespace(ns) {
		return
	}
	for _, p := range ns.pods {
		if s.selects(p) {
			e.join(p, s)
		}
	}
}

func (e *Engine) releaseSelector(s *selector) {
	if s.users--; s.users > 0 {
		return
	}
	delete(e.selectors, s.id)
	for _, k := range s.indexKeys() {
		delete(e.index[k], s)
		if len(e.index[k]) == 0 {
			delete(e.index, k)
		}
	}
	for p := range s.members {
		delete(p.matches, s)
	}
}
