// Package selector implements Calico's label-selector language, in which policies,
// pools and peers say which endpoints, nodes or namespaces they mean:
//
//	role == 'db' && env in {'prod', 'stage'} || !has(legacy)
//
// The operators are ==, !=, in {…}, not in {…}, contains, starts with, ends with,
// has(…), all(), global(), !, && and ||, with parentheses; ! binds tighter than &&, and &&
// tighter than ||. An empty selector means all().
//
// The package is pure: it holds no state and does no I/O. A Selector is immutable, so any
// number of goroutines may evaluate it.
package selector

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sort"
	"strings"
)

// Selector is a parsed expression. Make one by Parse or FromLabelSelector.
type Selector struct {
	root      node
	canonical string
}

// All selects everything.
func All() *Selector { return all }

var all = newSelector(&constant{"all()", true})

func newSelector(root node) *Selector {
	var b strings.Builder
	root.write(&b)
	return &Selector{root: root, canonical: b.String()}
}

// Matches reports whether labels satisfy the selector; nil has none. It does not allocate. A label that is not there
// satisfies !=, not in and negations, as in Calico.
func (s *Selector) Matches(labels map[string]string) bool { return s.root.matches(labels) }

// String returns the canonical form: spaces, quotes, parentheses and the order within
// braces are normalised, so that selectors written alike are equal. Parsing it gives an
// equal selector.
func (s *Selector) String() string { return s.canonical }

// UniqueID is a short name for the canonical form: "s:" and 38 characters of URL-safe
// base64. Selectors have the same ID exactly when their canonical forms are equal.
func (s *Selector) UniqueID() string {
	sum := sha256.Sum224([]byte(s.canonical))
	return "s:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// labels are names with one value each.
type labels = map[string]string

// node is a part of an expression.
type node interface {
	matches(labels) bool
	write(*strings.Builder)
}

// constant is all() and global(), and the selector of nothing.
type constant struct {
	text  string
	value bool
}

func (n *constant) matches(labels) bool      { return n.value }
func (n *constant) write(b *strings.Builder) { b.WriteString(n.text) }

type has struct{ label string }

func (n *has) matches(l labels) bool {
	_, ok := l[n.label]
	return ok
}

func (n *has) write(b *strings.Builder) {
	b.WriteString("has(")
	b.WriteString(n.label)
	b.WriteByte(')')
}

// operator stands between a label and one string or a set of them.
type operator uint8

const (
	opNone operator = iota
	opEqual
	opNotEqual
	opContains
	opStartsWith
	opEndsWith
	opIn
	opNotIn
)

// spellings are the canonical ones.
var spellings = [...]string{
	opEqual: "==", opNotEqual: "!=", opContains: "contains", opStartsWith: "starts with", opEndsWith: "ends with",
	opIn: "in", opNotIn: "not in",
}

// comparison is an operator between a label and one string.
type comparison struct {
	label   string
	op      operator
	operand string
}

func (n *comparison) matches(l labels) bool {
	value, ok := l[n.label]
	return n.holds(value, ok)
}

// holds reports whether the comparison is true for the label's value, or for an absent label.
func (n *comparison) holds(value string, ok bool) bool {
	switch n.op {
	case opEqual:
		return ok && value == n.operand
	case opNotEqual:
		return !ok || value != n.operand
	case opContains:
		return ok && strings.Contains(value, n.operand)
	case opStartsWith:
		return ok && strings.HasPrefix(value, n.operand)
	default: // opEndsWith
		return ok && strings.HasSuffix(value, n.operand)
	}
}

func (n *comparison) write(b *strings.Builder) {
	writeOperation(b, n.label, n.op)
	writeString(b, n.operand)
}

func writeOperation(b *strings.Builder, label string, op operator) {
	b.WriteString(label)
	b.WriteByte(' ')
	b.WriteString(spellings[op])
	b.WriteByte(' ')
}

// membership is opIn or opNotIn between a label and a set.
type membership struct {
	label  string
	op     operator
	values []string // sorted, each once
}

// newMembership keeps and changes values.
func newMembership(label string, op operator, values []string) *membership {
	slices.Sort(values)
	return &membership{label, op, slices.Compact(values)}
}

func (n *membership) matches(l labels) bool {
	value, ok := l[n.label]
	return n.holds(value, ok)
}

func (n *membership) holds(value string, ok bool) bool {
	if ok {
		i := sort.SearchStrings(n.values, value) // half the time of slices.BinarySearch
		ok = i < len(n.values) && n.values[i] == value
	}
	return ok == (n.op == opIn)
}

func (n *membership) write(b *strings.Builder) {
	writeOperation(b, n.label, n.op)
	b.WriteByte('{')
	for i, v := range n.values {
		if i > 0 {
			b.WriteString(", ")
		}
		writeString(b, v)
	}
	b.WriteByte('}')
}

// negation is of anything but a negation: every selector has one canonical form.
type negation struct{ operand node }

func negated(n node) node {
	if twice, ok := n.(*negation); ok {
		return twice.operand
	}
	return &negation{n}
}

func (n *negation) matches(l labels) bool { return !n.operand.matches(l) }

func (n *negation) write(b *strings.Builder) {
	b.WriteByte('!')
	n.operand.write(b)
}

// junction is two or more operands joined by && or, if it is any, by ||.
type junction struct {
	any      bool
	operands []node
}

func (n *junction) matches(l labels) bool {
	for _, operand := range n.operands {
		if operand.matches(l) == n.any {
			return n.any
		}
	}
	return !n.any
}

func (n *junction) write(b *strings.Builder) {
	separator := " && "
	if n.any {
		separator = " || "
	}
	b.WriteByte('(')
	for i, operand := range n.operands {
		if i > 0 {
			b.WriteString(separator)
		}
		operand.write(b)
	}
	b.WriteByte(')')
}

// depth is how many parentheses stand within each other when a node is written.
func depth(n node) int {
	switch n := n.(type) {
	case *negation:
		return depth(n.operand)
	case *junction:
		deepest := 0
		for _, operand := range n.operands {
			deepest = max(deepest, depth(operand))
		}
		return deepest + 1
	}
	return 0
}

// writeString quotes as Parse reads: the language has no escapes, so a string holds one
// kind of quotes at most.
func writeString(b *strings.Builder, s string) {
	quote := byte('"')
	if strings.IndexByte(s, '"') >= 0 {
		quote = '\''
	}
	b.WriteByte(quote)
	b.WriteString(s)
	b.WriteByte(quote)
}
