// Package metric has what the metrics of the processes have in common: sets of metrics that are made and registered
// together, summaries with Calico's quantiles, and counts of log records that could not be written.
//
// It defines no metric of a feature. The handler of CountLog is called on the goroutine that logs.
package metric

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// NewSummary returns a summary with the quantiles that Calico's summaries have.
func NewSummary(name, help string, labels prometheus.Labels) prometheus.Summary {
	return prometheus.NewSummary(prometheus.SummaryOpts{Name: name, Help: help, ConstLabels: labels,
		Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001}})
}

// CountLog returns a logger that counts what it fails to write, as Calico's metrics of a process: felix or typha.
func CountLog(log *slog.Logger, registry prometheus.Registerer, process string) *slog.Logger {
	h := countedHandler{log.Handler(),
		prometheus.NewCounter(prometheus.CounterOpts{Name: process + "_log_errors",
			Help: "Errors of writing the log."}),
		prometheus.NewCounter(prometheus.CounterOpts{Name: process + "_logs_dropped",
			Help: "Records that are missing from the log, because they could not be written."})}
	registry.MustRegister(h.errors, h.dropped)
	return slog.New(h)
}

// countedHandler counts the records that could not be written.
type countedHandler struct {
	slog.Handler
	errors, dropped prometheus.Counter
}

// Handle implements slog.Handler.
func (h countedHandler) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if err != nil {
		h.errors.Inc()
		h.dropped.Inc()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h countedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler.
func (h countedHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
