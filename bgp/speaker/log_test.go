package speaker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestRepeatedMessages: what a peer makes the server write over and over again does not fill the log, and hides nothing
// else.
func TestRepeatedMessages(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := &serverLog{log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 10 * burst {
		log.Warn("again", nil)
	}
	log.Warn("once", nil)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != burst+2 || !strings.Contains(lines[burst], "repeats itself") ||
		!strings.Contains(lines[burst+1], "once") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
