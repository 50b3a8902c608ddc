// Package bench compares Maneki with named baselines: every benchmark is a pair, measured
// interleaved in one run on the same machine, and reported as a ratio. There are no thresholds here: machines
// are noisy, so a figure is for reading and a ratio is what counts.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Subject is one side of a pair.
type Subject struct {
	// Name says what is measured, for example "ptp + host-local".
	Name string
	// Prepare makes ready for one measurement and is not timed. It may be nil.
	Prepare func(ctx context.Context) error
	// Run is what is timed.
	Run func(ctx context.Context) error
}

// Pair is a baseline and what is compared with it.
type Pair struct {
	Name      string
	Baseline  Subject
	Candidate Subject
	// Operations that one Run performs; durations are reported for one of them.
	Operations int
	// Cleanup ends the pair. It may be nil.
	Cleanup func()
}

// Stats are the durations of one operation over the runs, in nanoseconds.
type Stats struct {
	Subject string        `json:"subject"`
	Min     time.Duration `json:"min_ns"`
	Median  time.Duration `json:"median_ns"`
	Max     time.Duration `json:"max_ns"`
}

// Result is a measured pair. Ratio is the candidate's median divided by the baseline's: below 1
// the candidate is faster.
type Result struct {
	Pair      string  `json:"pair"`
	Runs      int     `json:"runs"`
	Baseline  Stats   `json:"baseline"`
	Candidate Stats   `json:"candidate"`
	Ratio     float64 `json:"ratio"`
}

// Measure runs both sides once to warm up and then runs times each, alternating which goes
// first so that a drift of the machine falls on both alike.
func Measure(ctx context.Context, pair Pair, runs int) (Result, error) {
	sides := [2]Subject{pair.Baseline, pair.Candidate}
	var durations [2][]time.Duration
	for run := -1; run < runs; run++ {
		for i := range sides {
			side := i
			if run%2 != 0 {
				side = 1 - i
			}
			took, err := once(ctx, sides[side])
			if err != nil {
				return Result{}, fmt.Errorf("benchmark %s: %s: %w", pair.Name, sides[side].Name, err)
			}
			if run >= 0 {
				durations[side] = append(durations[side], took/time.Duration(max(pair.Operations, 1)))
			}
		}
	}
	result := Result{
		Pair: pair.Name, Runs: runs,
		Baseline:  summarise(sides[0].Name, durations[0]),
		Candidate: summarise(sides[1].Name, durations[1]),
	}
	result.Ratio = float64(result.Candidate.Median) / float64(max(result.Baseline.Median, 1))
	return result, nil
}

func once(ctx context.Context, s Subject) (time.Duration, error) {
	if s.Prepare != nil {
		if err := s.Prepare(ctx); err != nil {
			return 0, fmt.Errorf("prepare: %w", err)
		}
	}
	start := time.Now()
	err := s.Run(ctx)
	return time.Since(start), err
}

func summarise(name string, durations []time.Duration) Stats {
	slices.Sort(durations)
	n := len(durations)
	return Stats{Subject: name, Min: durations[0], Median: (durations[(n-1)/2] + durations[n/2]) / 2,
		Max: durations[n-1]}
}

// Print writes a result as a table for reading.
func (r Result) Print(w io.Writer) {
	fmt.Fprintf(w, "%s (%d runs each)\n", r.Pair, r.Runs)
	for _, s := range []Stats{r.Baseline, r.Candidate} {
		fmt.Fprintf(w, "  %-34s min %-12v median %-12v max %v\n", s.Subject, s.Min, s.Median, s.Max)
	}
	fmt.Fprintf(w, "  ratio %.2f (%s / %s)\n", r.Ratio, r.Candidate.Subject, r.Baseline.Subject)
}

// WriteJSON writes results as an indented JSON array.
func WriteJSON(w io.Writer, results []Result) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(results)
}
