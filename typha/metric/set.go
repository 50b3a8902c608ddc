package metric

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Set makes and registers the metrics of one part of a program.
type Set struct {
	registry prometheus.Registerer // nil registers nothing
	labels   prometheus.Labels
}

// NewSet returns a Set that registers its metrics; with a nil registry they are only counted.
func NewSet(registry prometheus.Registerer) Set { return Set{registry: registry} }

// With returns a Set whose metrics have constant labels.
func (s Set) With(labels prometheus.Labels) Set { return Set{s.registry, labels} }

// Register registers a metric that was made elsewhere.
func (s Set) Register(c prometheus.Collector) {
	if s.registry != nil {
		s.registry.MustRegister(c)
	}
}

// Counter makes a counter.
func (s Set) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: s.labels})
	s.Register(c)
	return c
}

// Gauge makes a gauge.
func (s Set) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: s.labels})
	s.Register(g)
	return g
}

// GaugeBy makes a gauge for each value of a label.
func (s Set) GaugeBy(label, name, help string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: s.labels}, []string{label})
	s.Register(g)
	return g
}

// Sampled makes a Sampled.
func (s Set) Sampled(name, help string) *Sampled {
	summary := NewSummary(name, help, s.labels)
	s.Register(summary)
	return &Sampled{summary: summary}
}

// Sampled is a summary that records at most one observation in a millisecond. With thousands of streams, recording all
// observations would cost more than sending. It is safe for concurrent use.
type Sampled struct {
	summary prometheus.Summary
	last    atomic.Int64 // Unix nanoseconds
}

// Observe records a value, unless another one was recorded less than a millisecond ago.
func (s *Sampled) Observe(v float64) {
	now, last := time.Now().UnixNano(), s.last.Load()
	if now-last >= int64(time.Millisecond) && s.last.CompareAndSwap(last, now) {
		s.summary.Observe(v)
	}
}

// OfFelix returns the label that Calico's Typha gives the metrics of a stream, of which there is one kind here.
func OfFelix() prometheus.Labels { return prometheus.Labels{"syncer": "felix"} }
