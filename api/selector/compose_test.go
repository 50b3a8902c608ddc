package selector

import (
	"slices"
	"testing"
)

func parse(t *testing.T, text string) *Selector {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCompose(t *testing.T) {
	a, b := parse(t, "a == 'x' && has(b)"), parse(t, "c in {'z', 'y'} || !global()")
	no, had := b.WithGlobal(false)
	if !had {
		t.Error("global() is not found")
	}
	yes, _ := b.WithGlobal(true)
	for _, tt := range []struct {
		got  *Selector
		want string
	}{
		{And(), "all()"},
		{And(All(), a), `(a == "x" && has(b))`},
		{And(a, Has("d"), In("e", "1")), `(a == "x" && has(b) && has(d) && e == "1")`},
		{Or(Has("a"), Not(In("e", "2", "1"))), `(has(a) || !e in {"1", "2"})`},
		{b.Prefixed("p."), `(p.c in {"y", "z"} || !global())`},
		{no, `(c in {"y", "z"} || all())`},
		{yes, `(c in {"y", "z"} || !all())`},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

func TestFacts(t *testing.T) {
	rank := func(f Fact) int {
		if f.Any {
			return 1
		}
		return 0
	}
	for _, tt := range []struct {
		text string
		want []Fact
		ok   bool
	}{
		{"all()", nil, false},
		{"!all()", nil, true},
		{"a == 'x'", []Fact{{Label: "a", Value: "x"}}, true},
		{"a != 'x'", nil, false},
		{"a starts with 'x'", []Fact{{Label: "a", Any: true}}, true},
		{"has(a) && b in {'x', 'y'}", []Fact{{Label: "b", Value: "x"}, {Label: "b", Value: "y"}}, true},
		{"has(a) || b == 'x'", []Fact{{Label: "a", Any: true}, {Label: "b", Value: "x"}}, true},
		{"has(a) || b != 'x'", nil, false},
		{"!has(a) && b == 'x'", []Fact{{Label: "b", Value: "x"}}, true},
	} {
		got, ok := parse(t, tt.text).Facts(rank)
		if ok != tt.ok || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}
