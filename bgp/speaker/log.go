package speaker

import (
	"context"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	gobgplog "github.com/osrg/gobgp/v3/pkg/log"
)

// A peer can cause some of GoBGP's messages as often as it likes. Of each message, burst per minute are logged.
const burst = 100

// serverLog passes GoBGP's messages on to slog.
type serverLog struct {
	log *slog.Logger

	mu     sync.Mutex
	minute time.Time      // when counting began
	counts map[string]int // by event, since then
}

// allow reports whether an event may be logged once more. It logs the first refusal.
func (l *serverLog) allow(event string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.counts == nil || now.Sub(l.minute) > time.Minute {
		l.minute, l.counts = now, map[string]int{}
	}
	l.counts[event]++
	if l.counts[event] == burst+1 {
		l.log.Warn("bgp server repeats itself; the rest of this minute is left out", "event", event)
	}
	return l.counts[event] <= burst
}

func (l *serverLog) write(level slog.Level, event string, fields gobgplog.Fields) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) || level >= slog.LevelInfo && !l.allow(event) {
		return
	}
	attrs := []slog.Attr{slog.String("event", strings.TrimSpace(event))}
	for name, value := range fields {
		if name == "Topic" || name == gobgplog.FieldFacility {
			continue
		}
		if name == "Key" {
			name = "peer"
		}
		attrs = append(attrs, slog.Any(strings.ToLower(name), value))
	}
	sort.Slice(attrs[1:], func(i, j int) bool { return attrs[1+i].Key < attrs[1+j].Key })
	l.log.LogAttrs(ctx, level, "bgp server", attrs...)
}

// Panic and Fatal are GoBGP's words for a broken invariant of its own.

func (l *serverLog) Panic(event string, fields gobgplog.Fields) {
	l.write(slog.LevelError, event, fields)
	panic("gobgp: " + event)
}

func (l *serverLog) Fatal(event string, fields gobgplog.Fields) { l.Panic(event, fields) }

func (l *serverLog) Error(event string, fields gobgplog.Fields) {
	l.write(slog.LevelError, event, fields)
}

func (l *serverLog) Warn(event string, fields gobgplog.Fields) {
	l.write(slog.LevelWarn, event, fields)
}

func (l *serverLog) Info(event string, fields gobgplog.Fields) {
	level := slog.LevelInfo
	if event == "call set policy" { // for each peer, when one comes or goes
		level = slog.LevelDebug
	}
	l.write(level, event, fields)
}

func (l *serverLog) Debug(event string, fields gobgplog.Fields) {
	l.write(slog.LevelDebug, event, fields)
}

// SetLevel does nothing: the injected logger's handler decides.
func (l *serverLog) SetLevel(gobgplog.LogLevel) {}

// GetLevel keeps GoBGP from building debug messages that nobody reads.
func (l *serverLog) GetLevel() gobgplog.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return gobgplog.DebugLevel
	}
	return gobgplog.InfoLevel
}
