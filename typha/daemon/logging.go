package daemon

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// countedHandler counts the records that could not be written.
type countedHandler struct {
	slog.Handler
	errors, dropped prometheus.Counter
}

// countLogging makes a logger that counts its failures, by Calico's names.
func countLogging(log *slog.Logger, registry prometheus.Registerer) *slog.Logger {
	h := countedHandler{log.Handler(),
		prometheus.NewCounter(prometheus.CounterOpts{Name: "typha_log_errors", Help: "Errors of writing the log."}),
		prometheus.NewCounter(prometheus.CounterOpts{Name: "typha_logs_dropped", Help: "Records that are missing from the log, because they could not be written."})}
	registry.MustRegister(h.errors, h.dropped)
	return slog.New(h)
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
