package compat

import (
	"math/rand/v2"
	"strings"
	"testing"

	public "github.com/projectcalico/calico/libcalico-go/lib/selector"

	"github.com/maneki-net/maneki/api/selector"
)

// writer writes random selectors, with random white space and quotes.
type writer struct {
	*rand.Rand
	b strings.Builder
}

var (
	labelNames  = []string{"a", "b", "app.kubernetes.io/name", "in", "not", "has", "all", "starts", "A_1"}
	labelValues = []string{"", "x", "y", "xy", "yx", "x y", "ü", "it's", `"`, "&&"}
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

func (w *writer) space() { w.b.WriteString(pick(w.Rand, []string{"", " ", " ", "\t", "  "})) }

func (w *writer) expression(depth int) {
	for w.IntN(8) == 0 {
		w.b.WriteString("!")
		w.space()
	}
	kind := w.IntN(11)
	if depth == 0 {
		kind = w.IntN(9)
	}
	switch kind {
	case 0:
		w.b.WriteString(pick(w.Rand, []string{"all()", "global()", "all( )"}))
	case 1:
		w.b.WriteString("has(")
		w.space()
		w.b.WriteString(pick(w.Rand, labelNames))
		w.space()
		w.b.WriteString(")")
	case 2, 3:
		w.operation(pick(w.Rand, []string{" in", " not in", " notin", " not  in"}))
		w.set()
	case 9, 10:
		w.b.WriteString("(")
		w.space()
		w.joined(depth - 1)
		w.space()
		w.b.WriteString(")")
	default:
		w.operation(pick(w.Rand, []string{"==", "!=", " contains", " starts with", " startswith", " ends with",
			" endswith"}))
		w.quoted()
	}
}

func (w *writer) operation(operator string) {
	w.b.WriteString(pick(w.Rand, labelNames))
	w.space()
	w.b.WriteString(operator)
	w.space()
}

func (w *writer) set() {
	w.b.WriteString("{")
	for range w.IntN(4) {
		w.quoted()
		w.space()
		w.b.WriteString(",")
		w.space()
	}
	if w.IntN(3) > 0 {
		w.quoted()
	}
	w.b.WriteString("}")
}

func (w *writer) quoted() {
	value, quote := pick(w.Rand, labelValues), "'"
	if strings.Contains(value, "'") {
		quote = `"`
	}
	w.b.WriteString(quote + value + quote)
}

func (w *writer) joined(depth int) {
	w.expression(depth)
	for range w.IntN(4) {
		w.space()
		w.b.WriteString(pick(w.Rand, []string{"&&", "||"}))
		w.space()
		w.expression(depth)
	}
}

// mutate damages a selector a little.
func (w *writer) mutate(text string) string {
	for range 1 + w.IntN(2) {
		at := w.IntN(len(text) + 1)
		end := min(len(text), at+w.IntN(3))
		text = text[:at] + pick(w.Rand, []string{"", " ", "(", ")", "!", "=", "'", `"`, "{", "}", ",", "&", "|", "in",
			"a", "#"}) + text[end:]
	}
	return text
}

// TestSelectors gives random selectors, right and wrong, to both libraries: they must accept the same ones, write them
// the same way, and select the same labels.
func TestSelectors(t *testing.T) {
	t.Logf("-seed=%d", *seed)
	w := &writer{Rand: rand.New(rand.NewPCG(*seed, 2))}
	accepted, refused := 0, 0
	for i := range 100_000 {
		w.b.Reset()
		w.joined(3)
		text := w.b.String()
		if i%2 == 1 {
			text = w.mutate(text)
		}
		theirs, theirError := public.Parse(text)
		ours, ourError := selector.Parse(text)
		if (theirError == nil) != (ourError == nil) {
			t.Fatalf("%q: theirs says %v, ours %v", text, theirError, ourError)
		}
		if ourError != nil {
			refused++
			continue
		}
		accepted++
		if again := public.Normalise(theirs.String()); again != ours.String() { // of !(!a) theirs makes !!a at first
			t.Fatalf("%q: theirs is\n%s, ours\n%s", text, again, ours)
		}
		for range 4 {
			labels := map[string]string{}
			for range w.IntN(6) {
				labels[pick(w.Rand, labelNames)] = pick(w.Rand, labelValues)
			}
			if theirs.Evaluate(labels) != ours.Matches(labels) {
				t.Fatalf("%q on %v: theirs says %v, ours %v", text, labels, theirs.Evaluate(labels),
					ours.Matches(labels))
			}
		}
	}
	t.Logf("%d selectors that both accept alike, %d that both refuse", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("one of the two was not tested")
	}
}
