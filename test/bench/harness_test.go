package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// spend returns a side that takes the durations given, one a run, the first being the warm-up.
func spend(name string, durations ...time.Duration) Subject {
	return Subject{Name: name, Run: func(context.Context) error {
		<-time.After(durations[0]) // virtual time: the test runs in a synctest bubble
		durations = durations[1:]
		return nil
	}}
}

func TestMeasureReportsMediansAndTheirRatio(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := Pair{Name: "p", Operations: 10,
			Baseline:  spend("base", time.Hour, 10*time.Second, 30*time.Second, 20*time.Second),
			Candidate: spend("ours", time.Hour, 5*time.Second, 90*time.Second, 4*time.Second)}
		r, err := Measure(t.Context(), pair, 3)
		if err != nil {
			t.Fatal(err)
		}
		if r.Baseline.Median != 2*time.Second || r.Candidate.Median != 500*time.Millisecond || r.Ratio != 0.25 {
			t.Errorf("got %+v", r)
		}
		if r.Candidate.Min != 400*time.Millisecond || r.Candidate.Max != 9*time.Second {
			t.Errorf("extremes: %+v", r.Candidate)
		}
		var out bytes.Buffer
		if err := WriteJSON(&out, []Result{r}); err != nil || !json.Valid(out.Bytes()) {
			t.Errorf("json: %v\n%s", err, out.String())
		}
	})
}

func TestMeasureNamesTheSideThatFailed(t *testing.T) {
	pair := Pair{Name: "p", Baseline: Subject{Name: "base",
		Run: func(context.Context) error { return errors.New("boom") }},
		Candidate: Subject{Name: "ours", Run: func(context.Context) error { return nil }}}
	_, err := Measure(t.Context(), pair, 1)
	if err == nil || !strings.Contains(err.Error(), "p: base: boom") {
		t.Errorf("got %v", err)
	}
}
