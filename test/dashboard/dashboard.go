// Package dashboard knows what the Grafana dashboards that Calico publishes for Felix and Typha ask Prometheus for, and
// finds the answers in what a program exposes.
//
// calico.tsv has a row for each figure of each panel: its metric, and what its labels have to be. Labels that
// Prometheus itself adds, such as job, are left out. The package is for tests and asks nobody.
package dashboard

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
)

// The dashboards, by their titles. FelixOld is the one on grafana.com (12175), which came before Felix.
const (
	Felix    = "Calico: Felix"
	FelixOld = "Felix Dashboard (Calico)"
	Typha    = "Calico: Typha"
)

//go:embed calico.tsv
var table string

// Query is one figure that a panel shows.
type Query struct {
	Dashboard, Panel string
	// Series is the name of the samples; of a summary with its ending, such as _sum.
	Series   string
	Matchers []Matcher
}

// Matcher says what a label has to be, or, with Not, what it may not be.
type Matcher struct {
	Label, Value string
	Not          bool
}

// Sample is a line of what a program exposes.
type Sample struct {
	Series string
	Labels map[string]string
	Value  float64
}

var (
	matcher = regexp.MustCompile(`(\w+)(!?=)"([^"]*)"`)
	line    = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)$`)
	label   = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// Queries returns what a dashboard asks for.
func Queries(dashboard string) []Query {
	var all []Query
	for row := range strings.Lines(table) {
		f := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
		if len(f) != 4 {
			panic(fmt.Sprintf("calico.tsv: %q has not four columns", row))
		}
		if f[0] != dashboard {
			continue
		}
		q := Query{Dashboard: f[0], Panel: f[1], Series: f[2]}
		for _, m := range matcher.FindAllStringSubmatch(f[3], -1) {
			q.Matchers = append(q.Matchers, Matcher{Label: m[1], Value: m[3], Not: m[2] == "!="})
		}
		all = append(all, q)
	}
	return all
}

// Metric returns the name of the metric that a series belongs to, which is the series' own unless it is of a summary.
func Metric(series string) string {
	for _, ending := range []string{"_sum", "_count"} {
		if name, cut := strings.CutSuffix(series, ending); cut {
			return name
		}
	}
	return series
}

// OfTheProcess reports whether a metric is of the Go runtime or the operating system, which the
// table of effects does not have.
func OfTheProcess(metric string) bool {
	return strings.HasPrefix(metric, "go_") || strings.HasPrefix(metric, "process_")
}

// Parse reads Prometheus' text format.
func Parse(exposition string) ([]Sample, error) {
	var all []Sample
	for text := range strings.Lines(exposition) {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("%q is no sample", text)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		s := Sample{Series: m[1], Labels: map[string]string{}, Value: value}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			s.Labels[l[1]] = l[2]
		}
		all = append(all, s)
	}
	return all, nil
}

// Answers returns the samples that a query gets.
func (q Query) Answers(samples []Sample) []Sample {
	var all []Sample
	for _, s := range samples {
		if s.Series == q.Series && q.accepts(s.Labels) {
			all = append(all, s)
		}
	}
	return all
}

func (q Query) accepts(labels map[string]string) bool {
	for _, m := range q.Matchers {
		if (labels[m.Label] == m.Value) == m.Not {
			return false
		}
	}
	return true
}

// Add returns the sums of the answers of two queries that Prometheus gives: of those whose labels are the same.
func Add(a, b []Sample) []Sample {
	var sums []Sample
	for _, x := range a {
		for _, y := range b {
			if maps.Equal(x.Labels, y.Labels) {
				sums = append(sums, Sample{Labels: x.Labels, Value: x.Value + y.Value})
			}
		}
	}
	return sums
}
