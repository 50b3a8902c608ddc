package selector

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMatches(t *testing.T) {
	labels := map[string]string{"role": "db", "env": "prod-eu", "empty": "", "in": "x", "k8s.io/app-name_1": "shop"}
	tests := []struct {
		text string
		want bool
	}{
		{"", true},
		{"  ", true},
		{"all()", true},
		{"all( )", true},
		{"global()", true},
		{"!all()", false},
		{"!!all()", true},
		{"role == 'db'", true},
		{`role=="db"`, true},
		{"role == 'web'", false},
		{"missing == ''", false},
		{"empty == ''", true},
		{"role != 'db'", false},
		{"role != 'web'", true},
		{"missing != 'web'", true},
		{"role in {'web', 'db'}", true},
		{"role in{'web','db',}", true},
		{"role in {}", false},
		{"role not in {}", true},
		{"missing in {'web'}", false},
		{"role not in {'web', 'db'}", false},
		{"role not\tin {'web'}", true},
		{"missing not in {'web'}", true},
		{"has(role)", true},
		{"has( missing )", false},
		{"!has(missing)", true},
		{"env contains 'od-e'", true},
		{"env contains 'x'", false},
		{"env startswith 'prod'", true},
		{"env endswith 'eu'", true},
		{"role notin {'web'}", true},
		{"missing contains ''", false},
		{"env starts with 'prod'", true},
		{"env starts   with 'rod'", false},
		{"env ends with 'eu'", true},
		{"env ends with 'e'", false},
		{"k8s.io/app-name_1 == 'shop'", true},
		{"in in {'x'}", true},
		{"has(role) && env contains 'eu'", true},
		{"has(role) && has(missing)", false},
		{"has(missing) || has(role)", true},
		{"has(missing) && has(missing) || has(role)", true},
		{"has(role) || has(missing) && has(missing)", true},
		{"(has(role) || has(missing)) && has(missing)", false},
		{"!has(missing) && has(role)", true},
		{"!(has(missing) && has(role))", true},
		{"!role == 'db'", false},
		{"((role == 'db'))", true},
	}
	for _, tt := range tests {
		s, err := Parse(tt.text)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.text, err)
			continue
		}
		if got := s.Evaluate(other(labels)); got != tt.want {
			t.Errorf("%q evaluates to %v on %v, want %v", tt.text, got, labels, tt.want)
		}
		if got := s.Matches(labels); got != tt.want {
			t.Errorf("%q matches %v = %v, want %v", tt.text, labels, got, tt.want)
		}
	}
}

func TestString(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "all()"},
		{"a=='b'", `a == "b"`},
		{`a != 'say "b"'`, `a != 'say "b"'`},
		{"a in {'z',\"b\",'z'}", `a in {"b", "z"}`},
		{"a not  in {}", `a not in {}`},
		{"has( a )", "has(a)"},
		{"!!!has(a)", "!has(a)"},
		{"!(!has(a))", "has(a)"},
		{"!(!(!has(a)))", "!has(a)"},
		{"a == 'b' && c == 'd' && has(e)", `(a == "b" && c == "d" && has(e))`},
		{"has(a) || has(b) && !has(c)", "(has(a) || (has(b) && !has(c)))"},
		{"!(has(a) || global())", "!(has(a) || global())"},
		{"a starts\twith 'b'", `a starts with "b"`},
	}
	for _, tt := range tests {
		s, err := Parse(tt.text)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.text, err)
			continue
		}
		if s.String() != tt.want {
			t.Errorf("Parse(%q).String() = %s, want %s", tt.text, s, tt.want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"role", "column 5: expected an operator (==, !=, in, not in, contains, starts with, ends with) after the " +
			"label, found the end"},
		{"role = 'db'", `column 6: expected an operator (==, !=, in, not in, contains, starts with, ends with) after the label, found "= 'db'"`},
		{"role == db", `column 9: expected a string in quotes, found "db"`},
		{"role == 'db", `column 9: expected a string that ends with ', found "'db"`},
		{"role in 'db'", `column 9: expected { and a list of quoted strings, found "'db'"`},
		{"role in {'db' 'web'}", `column 15: expected , or }, found "'web'}"`},
		{"role in {'db'", "column 14: expected , or }, found the end"},
		{"has(role", "column 9: expected ), found the end"},
		{"has()", `column 5: expected a label of 1 to 512 characters, found ")"`},
		{"has (role)", `column 5: expected an operator (==, !=, in, not in, contains, starts with, ends with) after the label, found "(role)"`},
		{strings.Repeat("(", 1001), `column 1001: expected at most 1000 levels of parentheses, found "("`},
		{strings.Repeat("all()||all()&&(", 600) + "all()" + strings.Repeat(")", 600),
			"column 9606: expected at most 1000 levels of parentheses, found the end"},
		{"haz(role)", `column 1: expected has(…), all() or global(), found "haz(role)"`},
		{"all() &&", "column 9: expected a label, has(…), all(), global(), ! or (, found the end"},
		{"(all()", "column 7: expected &&, || or ), found the end"},
		{"all())", `column 6: expected &&, || or the end, found ")"`},
		{"a == 'ü' and b == 'c'", `column 10: expected &&, || or the end, found "and b == 'c'"`},
		{"a not b", `column 3: expected an operator (==, !=, in, not in, contains, starts with, ends with) after the label, found "not b"`},
	}
	for _, tt := range tests {
		_, err := Parse(tt.text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("Parse(%q) = %v, want a SyntaxError", tt.text, err)
			continue
		}
		if err.Error() != tt.want {
			t.Errorf("Parse(%q)\n got %s\nwant %s", tt.text, err, tt.want)
		}
	}
}

func TestUniqueID(t *testing.T) {
	id := func(text string) string {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return s.UniqueID()
	}
	if a, b := id("a=='b'&&has(c)"), id(`a == "b" && has( c )`); a != b {
		t.Errorf("one selector has the IDs %s and %s", a, b)
	}
	if a, b := id("a == 'b'"), id("a == 'c'"); a == b {
		t.Errorf("two selectors have the ID %s", a)
	}
	if got := id("all()"); len(got) != 40 {
		t.Errorf("ID %s has %d characters, want 40", got, len(got))
	}
}

func TestFromLabelSelector(t *testing.T) {
	expression := func(key, op string, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: key, Operator: metav1.LabelSelectorOperator(op), Values: values}}}
	}
	tests := []struct {
		in            *metav1.LabelSelector
		want, wantErr string
	}{
		{nil, "!all()", ""},
		{&metav1.LabelSelector{}, "all()", ""},
		{&metav1.LabelSelector{MatchLabels: map[string]string{"b": "2", "a": "1"}}, `(a == "1" && b == "2")`, ""},
		{expression("a", "In", "2", "1"), `a in {"1", "2"}`, ""},
		{expression("a", "NotIn", "1"), `a != "1"`, ""},
		{expression("a", "NotIn", "1", "2"), `a not in {"1", "2"}`, ""},
		{expression("a", "Exists"), "has(a)", ""},
		{expression("a", "DoesNotExist"), "!has(a)", ""},
		{expression("a", "In"), "", "matchExpressions[0]: label a: operator In needs at least one value"},
		{expression("a", "Exists", "1"), "", "matchExpressions[0]: label a: operator Exists takes no values"},
		{expression("a", "Like", "1"), "",
			`matchExpressions[0]: label a: operator "Like" is none of In, NotIn, Exists, DoesNotExist`},
		{expression("a b", "Exists"), "", `matchExpressions[0]: "a b" is not a label`},
		{&metav1.LabelSelector{MatchLabels: map[string]string{"a": "'"}}, "",
			`matchLabels: label a: "'" is not a value of a label`},
	}
	for _, tt := range tests {
		s, err := FromLabelSelector(tt.in)
		switch {
		case err != nil && err.Error() != tt.wantErr, err == nil && tt.wantErr != "":
			t.Errorf("FromLabelSelector(%v): error %v, want %q", tt.in, err, tt.wantErr)
		case err == nil && s.String() != tt.want:
			t.Errorf("FromLabelSelector(%v) = %s, want %s", tt.in, s, tt.want)
		}
	}
}

// other is Labels that are no map to the package.
type other map[string]string

func (o other) Get(name string) (string, bool) {
	value, ok := o[name]
	return value, ok
}

func TestNothingAllocates(t *testing.T) {
	s, err := Parse("role in {'db', 'web'} && env starts with 'prod' && !(has(legacy) || tier != 'x' && all()) && " +
		"env contains 'o' && env ends with 'd' && tier not in {'y'} && global()")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"role": "db", "env": "prod", "tier": "x"}
	if !s.Matches(labels) {
		t.Fatalf("%s does not match %v", s, labels)
	}
	if n := testing.AllocsPerRun(100, func() { s.Matches(labels) }); n != 0 {
		t.Errorf("Matches allocates %v times", n)
	}
	var others Labels = other(labels)
	if n := testing.AllocsPerRun(100, func() { s.Evaluate(others) }); n != 0 {
		t.Errorf("Evaluate allocates %v times", n)
	}
}

// TestDeepSelectors parses the canonical form of a selector that is as deep as may be, which has more parentheses.
func TestDeepSelectors(t *testing.T) {
	s, err := Parse(strings.Repeat("!(has(a)||has(b)&&", 500) + "all()" + strings.Repeat(")", 500))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(s.String()); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "a == 'b'", "!(a in {'b', \"c'\"} || has(x))&&all()", "a not in {}", "((((",
		"has(a", "a starts with 'é", "!(!a notin{'b',}) || x endswith''"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Column < 1 || syntax.Column > len(text)+1 {
				t.Fatalf("Parse(%q): error %#v", text, err)
			}
			return
		}
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("canonical form %q of %q: %v", s, text, err)
		}
		if again.String() != s.String() || again.UniqueID() != s.UniqueID() {
			t.Fatalf("%q becomes %q and then %q", text, s, again)
		}
		for _, labels := range []map[string]string{nil, {"a": "b"}, {"x": "", "a": "c"}} {
			if s.Matches(labels) != again.Matches(labels) {
				t.Fatalf("%q and its canonical form differ on %v", text, labels)
			}
			if s.Matches(labels) != s.Evaluate(other(labels)) {
				t.Fatalf("%q: Matches and Evaluate differ on %v", text, labels)
			}
		}
	})
}

// TestLongSelectors: what takes long to evaluate is refused, and what is accepted has a canonical form that is
// accepted, too.
func TestLongSelectors(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("a", 2<<20), strings.Repeat("(", 2<<20), strings.Repeat("!", 2<<20),
		strings.Repeat(" ", maxLength+1),
		strings.Repeat("a!=''&&", 2000) + "has(b)", // its canonical form is too long
		"a in {" + strings.Repeat("'x',", 1<<18) + "}",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "at most 16384 characters") {
			t.Errorf("%.20q of %d characters: error %.200v", text, len(text), err)
		}
	}
	long, err := Parse(strings.Repeat("a!=''&&", 1000) + "has(b)")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(long.String()); err != nil || again.String() != long.String() {
		t.Errorf("the canonical form of a long selector: %v", err)
	}
	var ls metav1.LabelSelector
	for n := range maxRequirements + 1 {
		ls.MatchExpressions = append(ls.MatchExpressions, metav1.LabelSelectorRequirement{Key: fmt.Sprint("k", n),
			Operator: metav1.LabelSelectorOpDoesNotExist})
	}
	if _, err := FromLabelSelector(&ls); err == nil || !strings.Contains(err.Error(), "at most 1000 can be used") {
		t.Errorf("%d requirements: error %v", len(ls.MatchExpressions), err)
	}
	ls.MatchExpressions = ls.MatchExpressions[1:]
	if _, err := FromLabelSelector(&ls); err != nil {
		t.Errorf("%d requirements: %v", len(ls.MatchExpressions), err)
	}
}
