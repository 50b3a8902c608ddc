package dashboard_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/effects"
	"github.com/maneki-net/maneki/test/dashboard"
)

const exposition = `
# HELP felix_bpf_events Events.
# TYPE felix_bpf_events counter
felix_bpf_events{type="lost"} 3
felix_bpf_events{type="flow",why="\"a\", b"} 4
a_sum 0.5
a{quantile="0.99"} NaN
`

func TestAnswers(t *testing.T) {
	samples, err := dashboard.Parse(exposition)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		query dashboard.Query
		want  []float64
	}{
		{dashboard.Query{Series: "felix_bpf_events"}, []float64{3, 4}},
		{dashboard.Query{Series: "felix_bpf_events", Matchers: []dashboard.Matcher{{Label: "type", Value: "lost"}}},
			[]float64{3}},
		{dashboard.Query{Series: "felix_bpf_events", Matchers: []dashboard.Matcher{{Label: "type", Value: "lost",
			Not: true}}}, []float64{4}},
		{dashboard.Query{Series: "felix_bpf_events", Matchers: []dashboard.Matcher{{Label: "missing", Value: "x"}}},
			nil},
		{dashboard.Query{Series: "felix_bpf"}, nil},
		{dashboard.Query{Series: "a_sum"}, []float64{0.5}},
	} {
		var got []float64
		for _, s := range c.query.Answers(samples) {
			got = append(got, s.Value)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.query, diff)
		}
	}
	if sums := dashboard.Add(samples[:1], samples[1:3]); len(sums) > 0 {
		t.Errorf("samples with other labels have the sums %v", sums)
	}
	if _, err := dashboard.Parse("felix_bpf_events{"); err == nil {
		t.Error("half a line was read")
	}
}

// TestEveryQueryHasARow: the table of effects says of each metric of Calico that a dashboard asks for what becomes of
// it.
func TestEveryQueryHasARow(t *testing.T) {
	for _, d := range []struct{ title, program string }{
		{dashboard.Felix, "felix"}, {dashboard.FelixOld, "felix"}, {dashboard.Typha, "typha"},
	} {
		queries := dashboard.Queries(d.title)
		if len(queries) < 10 {
			t.Errorf("%s has %d queries", d.title, len(queries))
		}
		for _, q := range queries {
			if name := dashboard.Metric(q.Series); !dashboard.OfTheProcess(name) {
				if _, ok := effects.Lookup(effects.Metric, d.program, name); !ok {
					t.Errorf("%s, %s: there is no row of %s", q.Dashboard, q.Panel, name)
				}
			}
		}
	}
}
