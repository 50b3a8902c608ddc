package spec

import (
	"strconv"

	"github.com/maneki-net/maneki/api/selector"
)

// Scope bounds the items that a selector can select, beside its expression.
type Scope uint8

// The scopes.
const (
	Any  Scope = iota // endpoints and network sets
	Pods              // pods
	Nodes
)

// Selector says which items are meant.
type Selector struct {
	Scope Scope
	// Namespace is where the items are. If it is empty, they may be in every namespace, or in none.
	Namespace  string
	Expression *selector.Selector
}

// All returns a selector of everything within a scope.
func All(scope Scope) Selector { return Selector{Scope: scope, Expression: selector.All()} }

// SelectorKey identifies a Selector: those with equal keys select the same.
type SelectorKey struct {
	Scope                 Scope
	Namespace, Expression string
}

// Key returns the key of the selector.
func (s Selector) Key() SelectorKey { return SelectorKey{s.Scope, s.Namespace, s.Expression.String()} }

// Terms returns the number of requirements in the expression, 0 for a selector without one.
func (s Selector) Terms() int {
	if s.Expression == nil {
		return 0
	}
	return s.Expression.Terms()
}

// appendCanonical appends a text that no selector with another key has.
func (s Selector) appendCanonical(to []byte) []byte {
	to = strconv.AppendQuote(append(to, '0'+byte(s.Scope), ' '), s.Namespace)
	return append(append(to, ' '), s.Expression.String()...)
}
