package compat

import (
	"fmt"
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
		w.operation(pick(w.Rand, []string{"==", "!=", " contains", " starts with", " startswith", " ends with", " endswith"}))
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
		text = text[:at] + pick(w.Rand, []string{"", " ", "(", ")", "!", "=", "'", `"`, "{", "}", ",", "&", "|", "in", "a", "#"}) + text[end:]
	}
	return text
}

// TestSelectors gives random selectors, right and wrong, to both libraries: they must accept the same ones, write them the
// same way, and select the same labels.
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
				t.Fatalf("%q on %v: theirs says %v, ours %v", text, labels, theirs.Evaluate(labels), ours.Matches(labels))
			}
		}
	}
	t.Logf("%d selectors that both accept alike, %d that both refuse", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("one of the two was not tested")
	}
}

// benchmarked are selectors as users write them.
var benchmarked = []struct{ name, text string }{
	{"all", "all()"},
	{"equal", "role == 'database'"},
	{"has", "has(app.kubernetes.io/name)"},
	{"and", "role == 'database' && env in {'production', 'staging', 'canary'} && !has(legacy)"},
	{"namespace", "projectcalico.org/namespace == 'shop' && projectcalico.org/orchestrator == 'k8s' && app == 'web'"},
	{"set", "role in {" + strings.Join(manyValues(), ", ") + "}"},
	{"nested", "(role == 'web' || role starts with 'data') && (env ends with 'ion' || env contains 'stag') && !(tier == 'x' || has(legacy))"},
}

func manyValues() []string {
	values := make([]string, 50)
	for i := range values {
		values[i] = fmt.Sprintf("'database-%d'", i)
	}
	return values
}

var benchmarkLabels = map[string]string{
	"role": "database", "env": "production", "tier": "backend", "app": "web", "app.kubernetes.io/name": "shop",
	"projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s", "pod-template-hash": "5d8c7b9f4",
}

func BenchmarkParse(b *testing.B) {
	for _, s := range benchmarked {
		b.Run(s.name+"/theirs", func(b *testing.B) {
			for b.Loop() {
				if _, err := public.Parse(s.text); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(s.name+"/ours", func(b *testing.B) {
			for b.Loop() {
				if _, err := selector.Parse(s.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, s := range benchmarked {
		theirs, err := public.Parse(s.text)
		if err != nil {
			b.Fatal(err)
		}
		ours, err := selector.Parse(s.text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.name+"/theirs", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				theirs.Evaluate(benchmarkLabels)
			}
		})
		b.Run(s.name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ours.Matches(benchmarkLabels)
			}
		})
	}
}
