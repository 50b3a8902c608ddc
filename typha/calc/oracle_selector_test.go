package calc_test

import (
	"slices"
	"strings"
	"testing"
)

// expr is an expression of Calico's selector language as a tree, which is written out for the resources and
// evaluated by the table of https://docs.tigera.io/calico/latest/reference/resources/networkpolicy#selectors .
type expr struct {
	op     string // all, global, has, !, &&, ||, or a comparison as it is written
	label  string
	values []string
	parts  []expr
}

var precedence = map[string]int{"||": 1, "&&": 2, "!": 3}

// String writes the expression with as few parentheses as the documented precedence allows.
func (x expr) String() string {
	switch x.op {
	case "all", "global":
		return x.op + "()"
	case "has":
		return "has(" + x.label + ")"
	case "!":
		return "!" + x.operand(0)
	case "&&", "||":
		return x.operand(0) + " " + x.op + " " + x.operand(1)
	case "in", "not in":
		return x.label + " " + x.op + " {'" + strings.Join(x.values, "', '") + "'}"
	}
	return x.label + " " + x.op + " '" + x.values[0] + "'"
}

func (x expr) operand(n int) string {
	inner := x.parts[n]
	if p := precedence[inner.op]; p != 0 && p < precedence[x.op] {
		return "(" + inner.String() + ")"
	}
	return inner.String()
}

// holds evaluates the expression on labels; global says whether they are of something outside of all namespaces.
func (x expr) holds(labels map[string]string, global bool) bool {
	value, has := labels[x.label]
	switch x.op {
	case "all":
		return true
	case "global":
		return global
	case "has":
		return has
	case "!":
		return !x.parts[0].holds(labels, global)
	case "&&":
		return x.parts[0].holds(labels, global) && x.parts[1].holds(labels, global)
	case "||":
		return x.parts[0].holds(labels, global) || x.parts[1].holds(labels, global)
	case "==":
		return has && value == x.values[0]
	case "!=":
		return !has || value != x.values[0]
	case "in":
		return has && slices.Contains(x.values, value)
	case "not in":
		return !has || !slices.Contains(x.values, value)
	case "contains":
		return has && strings.Contains(value, x.values[0])
	case "starts with":
		return has && strings.HasPrefix(value, x.values[0])
	case "ends with":
		return has && strings.HasSuffix(value, x.values[0])
	}
	panic("no operator " + x.op)
}

// saysGlobal tells whether global() occurs in the expression.
func (x expr) saysGlobal() bool {
	return x.op == "global" || slices.ContainsFunc(x.parts, expr.saysGlobal)
}

// selectors are the expressions by the text that stands for them in resources. A text that is not among them cannot
// be read.
type selectors map[string]expr

func (s selectors) write(x expr) string {
	text := x.String()
	s[text] = x
	return text
}

// read gives the expression of a text; empty text is all().
func (s selectors) read(text string) (expr, bool) {
	if text == "" {
		return expr{op: "all"}, true
	}
	x, ok := s[text]
	return x, ok
}

// TestPrecedence is the example of the documentation, which is to be read without parentheses.
func TestPrecedence(t *testing.T) {
	x := expr{op: "||", parts: []expr{
		{op: "!", parts: []expr{{op: "has", label: "my-label"}}},
		{op: "&&", parts: []expr{
			{op: "starts with", label: "my-label", values: []string{"prod"}},
			{op: "in", label: "role", values: []string{"frontend", "business"}}}},
	}}
	const want = "!has(my-label) || my-label starts with 'prod' && role in {'frontend', 'business'}"
	if got := x.String(); got != want {
		t.Errorf("written as %s, want %s", got, want)
	}
	for labels, want := range map[string]bool{"": true, "prod-1/frontend": true, "prod-1/other": false,
		"test/frontend": false} {
		on := map[string]string{}
		if value, role, ok := strings.Cut(labels, "/"); ok {
			on["my-label"], on["role"] = value, role
		}
		if x.holds(on, false) != want {
			t.Errorf("on %v it does not give %v", on, want)
		}
	}
}
