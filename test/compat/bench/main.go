// Command bench measures Maneki's selector library against Calico's, selector by selector, and writes the results as
// JSON to standard output. make bench runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"

	public "github.com/projectcalico/calico/libcalico-go/lib/selector"

	"github.com/maneki-net/maneki/api/selector"
	"github.com/maneki-net/maneki/test/bench"
)

// selectors are such as users write.
var selectors = []struct{ name, text string }{
	{"all()", "all()"},
	{"==", "role == 'database'"},
	{"has()", "has(app.kubernetes.io/name)"},
	{"three with &&", "role == 'database' && env in {'production', 'staging', 'canary'} && !has(legacy)"},
	{"pods of a namespace", "projectcalico.org/namespace == 'shop' && projectcalico.org/orchestrator == 'k8s' && " +
		"app == 'web'"},
	{"in 50 values", "role in {" + strings.Join(values(50), ", ") + "}"},
	{"nested", "(role == 'web' || role starts with 'data') && (env ends with 'ion' || env contains 'stag') && " +
		"!(tier == 'x' || has(legacy))"},
}

func values(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("'database-%d'", i)
	}
	return all
}

// labels of a pod that every selector but one selects.
var labels = map[string]string{
	"role": "database", "env": "production", "tier": "backend", "app": "web", "app.kubernetes.io/name": "shop",
	"projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s", "pod-template-hash": "5d8c7b9f4",
}

func main() {
	pattern := flag.String("run", ".", "pairs to measure, a regular expression")
	runs := flag.Int("runs", 15, "measured runs of each side")
	flag.Parse()
	if err := measure(context.Background(), *pattern, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, pattern string, runs int) error {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var results []bench.Result
	for _, s := range selectors {
		theirs, err := public.Parse(s.text)
		if err != nil {
			return err
		}
		ours, err := selector.Parse(s.text)
		if err != nil {
			return err
		}
		for _, pair := range []bench.Pair{
			thousands("parse "+s.name, 5, func() { _, _ = public.Parse(s.text) },
				func() { _, _ = selector.Parse(s.text) }),
			thousands("evaluate "+s.name, 100, func() { theirs.Evaluate(labels) }, func() { ours.Matches(labels) }),
		} {
			if !wanted.MatchString(pair.Name) {
				continue
			}
			result, err := bench.Measure(ctx, pair, runs)
			if err != nil {
				return err
			}
			results = append(results, result)
		}
	}
	return bench.WriteJSON(os.Stdout, results)
}

// thousands is a pair whose operation is a thousand calls.
func thousands(name string, operations int, theirs, ours func()) bench.Pair {
	repeat := func(call func()) func(context.Context) error {
		return func(context.Context) error {
			for range operations * 1000 {
				call()
			}
			return nil
		}
	}
	return bench.Pair{
		Name:       "selector: " + name + ", 1000 times",
		Operations: operations,
		Baseline:   bench.Subject{Name: "calico/libcalico-go", Run: repeat(theirs)},
		Candidate:  bench.Subject{Name: "maneki api/selector", Run: repeat(ours)},
	}
}
