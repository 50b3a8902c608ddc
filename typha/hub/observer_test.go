package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/hub/hubtest"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestObserverKnowsWhatTheHubKnows: whatever happens, and however slowly an observer reads, in the end it knows the
// same.
func TestObserverKnowsWhatTheHubKnows(t *testing.T) {
	for seed := range uint64(long.Or(1000, 20)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { observeHistory(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func observeHistory(t *testing.T, r *rand.Rand) {
	h, stop := hubtest.Start(t)
	defer stop()
	hubtest.List(t, h, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mirrors := []*hubtest.Mirror{hubtest.NewMirror(t), hubtest.NewMirror(t)}
	go mirrors[0].Follow(ctx, h, func() time.Duration { return time.Second })
	var sessions []*hub.Session
	reasons := map[calc.Problem]string{}
	for step := range 200 {
		switch n := r.IntN(10); {
		case n < 2 || len(sessions) == 0:
			s, err := h.ConnectRemote(ctx, hub.Hello{Node: fmt.Sprint("n", r.IntN(5)),
				Features: wire.AllFeatures.Names()})
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
			if r.IntN(4) > 0 { // the others do not read
				go func() {
					for {
						if _, err := s.Next(ctx); err != nil {
							return
						}
					}
				}()
			}
		case n < 4:
			i := r.IntN(len(sessions))
			sessions[i].Close()
			sessions = slices.Delete(sessions, i, i+1)
		case n < 7:
			s := sessions[r.IntN(len(sessions))]
			s.Report(wire.Report{Applied: uint64(r.IntN(3)), Errors: []string{"add route", "add rule"}[:r.IntN(3)]})
		case n < 8:
			name, reason := fmt.Sprint("p", r.IntN(4)), []string{"", "no CIDR", "overlaps"}[r.IntN(3)]
			hubtest.Refuse(t, h, name, reason)
			reasons[calc.Problem{Kind: calc.KindIPPool, Name: name}] = reason
			if reason == "" {
				delete(reasons, calc.Problem{Kind: calc.KindIPPool, Name: name})
			}
		default:
			hubtest.Update(t, h, step+2, nil, hubtest.Pod(fmt.Sprint("a", step), fmt.Sprint("n", r.IntN(5)), "web", ""))
		}
		time.Sleep(time.Duration(r.IntN(10)) * time.Second / 2)
		if step == 100 {
			pause := time.Duration(r.IntN(60)) * time.Second
			go mirrors[1].Follow(ctx, h, func() time.Duration { return pause })
		}
	}
	time.Sleep(5 * time.Minute) // the slow one reads a few times
	synctest.Wait()
	for i, m := range mirrors {
		if diff := cmp.Diff(hubtest.Steady(hubtest.Statuses(t, h)), hubtest.Steady(m.Nodes)); diff != "" {
			t.Errorf("nodes (-hub +observer %d):\n%s", i, diff)
		}
		if diff := cmp.Diff(reasons, m.Problems); diff != "" {
			t.Errorf("problems (-hub +observer %d):\n%s", i, diff)
		}
	}
}

// TestSlowObserver: what an observer leaves unread is merged, and holds nobody up.
func TestSlowObserver(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	o, err := h.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	m := hubtest.NewMirror(t)
	read := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		seen, err := o.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		m.Hear(seen)
	}
	read()
	const nodes, rounds = 3, 1000
	var sessions []*hub.Session
	for i := range nodes {
		s, err := h.Connect(t.Context(), hub.Hello{Node: fmt.Sprint("n", i)})
		if err != nil {
			t.Fatal(err)
		}
		hubtest.Next(t, s)
		sessions = append(sessions, s)
	}
	for round := range rounds {
		for _, s := range sessions {
			s.Report(wire.Report{Applied: uint64(round), Errors: []string{fmt.Sprint("round ", round)}})
		}
		hubtest.Refuse(t, h, "a", fmt.Sprint("round ", round))
	}
	hubtest.Refuse(t, h, "b", "")
	if _, err := h.Versions(t.Context()); err != nil { // all was taken in, and the last problems were given
		t.Fatal(err)
	}
	if err := h.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	marks, err := o.Marks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if marks > nodes+2 {
		t.Errorf("%d marks for %d nodes and two resources", marks, nodes)
	}
	read()
	if m.Heard != 2 || len(m.Nodes) != nodes || m.Nodes["n1"].Applied != rounds-1 ||
		m.Problems[calc.Problem{Kind: calc.KindIPPool, Name: "a"}] != fmt.Sprint("round ", rounds-1) {
		t.Errorf("after %d messages: %+v, %v", m.Heard, m.Nodes, m.Problems)
	}
}

// TestLaggingIsToldOnce: a node that does not enforce what it has is told of when it begins to lag and when it ends,
// and not in between.
func TestLaggingIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := hubtest.Start(t)
		defer stop()
		hubtest.List(t, h, 1)
		s, err := h.Connect(t.Context(), hub.Hello{Node: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		hubtest.Next(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m := hubtest.NewMirror(t)
		go m.Follow(ctx, h, func() time.Duration { return time.Second })
		expect := func(after time.Duration, told int, lags bool) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			m.Lock()
			defer m.Unlock()
			if n := m.Nodes["n1"]; m.Heard != told || n.Lagging() != lags {
				t.Errorf("%d messages, want %d, the last: %+v", m.Heard, told, n)
			}
		}
		expect(hub.LagsAfter, 1, false)
		expect(hub.InspectInterval+time.Second, 2, true)
		expect(time.Hour, 2, true)
		s.Report(wire.Report{}) // a sign of life that says nothing new
		expect(time.Minute, 2, true)
		s.Report(wire.Report{Applied: 1})
		expect(time.Second, 3, false)
		expect(time.Hour, 3, false)
	})
}

// TestNewestSessionCounts: a node whose old stream lingers is judged by its new one, and is gone with the last.
func TestNewestSessionCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := hubtest.Start(t)
		defer stop()
		hubtest.List(t, h, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m := hubtest.NewMirror(t)
		go m.Follow(ctx, h, func() time.Duration { return time.Second })
		connect := func() *hub.Session {
			time.Sleep(time.Minute)
			s, err := h.Connect(ctx, hub.Hello{Node: "n1"})
			if err != nil {
				t.Fatal(err)
			}
			hubtest.Next(t, s)
			return s
		}
		applied := func(want uint64, is bool) {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			m.Lock()
			defer m.Unlock()
			if n, there := m.Nodes["n1"]; there != is || n.Applied != want {
				t.Errorf("the node is there: %v, want %v; it has applied %d, want %d", there, is, n.Applied, want)
			}
		}
		applied(0, false)
		first := connect()
		first.Report(wire.Report{Applied: 7})
		applied(7, true)
		second := connect()
		second.Report(wire.Report{Applied: 1})
		applied(1, true)
		first.Report(wire.Report{Applied: 8})
		applied(1, true)
		second.Close()
		applied(8, true)
		first.Close()
		applied(0, false)
	})
}

// TestObserverWaitsForSync: before, a resource that cannot be used would seem to be as it should.
func TestObserverWaitsForSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := hubtest.Start(t)
		m := hubtest.NewMirror(t)
		go m.Follow(t.Context(), h, func() time.Duration { return 0 })
		hubtest.Refuse(t, h, "a", "no CIDR")
		time.Sleep(time.Minute)
		expect := func(told int) {
			t.Helper()
			synctest.Wait()
			m.Lock()
			defer m.Unlock()
			if m.Heard != told || len(m.Problems) != told {
				t.Errorf("after %d messages: %v", m.Heard, m.Problems)
			}
		}
		expect(0)
		hubtest.List(t, h, 1)
		expect(1)
		o, err := h.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		if _, err := o.Next(t.Context()); !errors.Is(err, hub.ErrClosed) {
			t.Errorf("after the hub ended: %v", err)
		}
	})
}

// TestErrorsOfAReportAreBounded, in number and size.
func TestErrorsOfAReportAreBounded(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	s, err := h.Connect(t.Context(), hub.Hello{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	report := wire.Report{Errors: slices.Repeat([]string{strings.Repeat("ä", wire.MaxReportText)},
		2*wire.MaxReportTexts)}
	report.Errors[1] = "x" + report.Errors[1]
	s.Report(report)
	got := hubtest.Statuses(t, h)["n1"].Errors
	if len(got) != wire.MaxReportTexts || len(report.Errors[0]) != 2*wire.MaxReportText {
		t.Errorf("%d errors are kept; the caller's has %d octets", len(got), len(report.Errors[0]))
	}
	for _, text := range got {
		if len(text) > wire.MaxReportText+len("…") || len(text) < wire.MaxReportText-1 || !utf8.ValidString(text) {
			t.Errorf("%d octets are kept, valid: %v", len(text), utf8.ValidString(text))
		}
	}
}

// TestManyObservers: those who come when there are too many are told so.
func TestManyObservers(t *testing.T) {
	h, _ := hubtest.Start(t)
	hubtest.List(t, h, 1)
	var all []*hub.Observer
	for range hub.MaxObservers {
		o, err := h.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	if _, err := h.Observe(t.Context()); !errors.Is(err, hub.ErrManyObservers) {
		t.Errorf("one too many: %v", err)
	}
	all[0].Close()
	if _, err := h.Observe(t.Context()); err != nil {
		t.Errorf("one instead of another: %v", err)
	}
}
