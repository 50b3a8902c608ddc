package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/typha/auth"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/metric"
	"github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/transport"
)

const page = "../../docs/typha.md"

// tableOf gives the table of the page's section.
func tableOf(t *testing.T, section string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	_, rest, table := strings.Cut(rest, "\n\n|")
	if !found || !table {
		t.Fatalf("%s has no table in a section %s", page, section)
	}
	rest, _, _ = strings.Cut("|"+rest, "\n\n")
	return strings.TrimSuffix(rest, "\n") + "\n"
}

// TestSettingsAreDocumented holds the page to the table of settings, as `typha settings` prints it.
func TestSettingsAreDocumented(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Main(t.Context(), nil, []string{"settings"}, &out, &errs); code != 0 {
		t.Fatalf("exit status %d: %s", code, errs.String())
	}
	if diff := cmp.Diff(out.String(), tableOf(t, "Settings")); diff != "" {
		t.Errorf("%s (-what typha settings prints +page):\n%s", page, diff)
	}
	if !strings.Contains(out.String(), "| `TYPHA_SERVERPINGINTERVALSECS` | `10` | seconds |") {
		t.Errorf("the table is\n%s", out.String())
	}
}

var described = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)"`)

// TestMetricsAreDocumented holds the page to the metrics that are registered.
func TestMetricsAreDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	hub.NewMetrics(registry)
	transport.NewMetrics(registry)
	registry.MustRegister(sync.NewView(nil), auth.NewExpiry("typha", auth.TLS{}))
	metric.CountLog(slog.New(slog.DiscardHandler), registry, "typha")
	all := make(chan *prometheus.Desc)
	go func() { registry.Describe(all); close(all) }()
	var rows []string
	for d := range all {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("what is the name in %s?", d)
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", m[1], m[2]))
	}
	slices.Sort(rows)
	if diff := cmp.Diff("| metric | meaning |\n|---|---|\n"+strings.Join(rows, ""), tableOf(t, "Metrics")); diff != "" {
		t.Errorf("%s (-registered +page):\n%s", page, diff)
	}
}
