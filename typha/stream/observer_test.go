package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/test/long"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// mirror is what an observer knows. Being told checks what an observer relies on.
type mirror struct {
	t *testing.T

	sync.Mutex
	nodes    map[string]NodeStatus
	problems map[resource]string
	told     int
}

func newMirror(t *testing.T) *mirror { return &mirror{t: t} }

func (m *mirror) tell(seen Observed) {
	m.Lock()
	defer m.Unlock()
	if seen.Whole != (m.told == 0) {
		m.t.Errorf("message %d is whole: %v", m.told+1, seen.Whole)
	}
	m.told++
	if seen.Whole {
		m.nodes, m.problems = map[string]NodeStatus{}, map[resource]string{}
		if len(seen.Gone) > 0 || slices.ContainsFunc(seen.Problems, func(v calc.Problem) bool { return v.Reason == "" }) {
			m.t.Errorf("a whole message says what is not: %+v", seen)
		}
	} else if len(seen.Nodes)+len(seen.Gone)+len(seen.Problems) == 0 {
		m.t.Error("a message says nothing")
	}
	for _, n := range seen.Nodes {
		m.nodes[n.Node] = n
	}
	for _, name := range seen.Gone {
		delete(m.nodes, name)
	}
	for _, v := range seen.Problems {
		r := resource{v.Kind, Name{v.Namespace, v.Name}}
		if m.problems[r] = v.Reason; v.Reason == "" {
			delete(m.problems, r)
		}
	}
}

// follow tells a mirror what an observer says, as a server does, until ctx ends.
func (m *mirror) follow(ctx context.Context, h *Hub, pause func() time.Duration) {
	o, err := h.observe(ctx)
	if err != nil {
		m.t.Error(err)
		return
	}
	defer o.close()
	for {
		seen, err := o.next(ctx)
		if err != nil {
			return
		}
		m.tell(seen)
		select {
		case <-time.After(pause()):
		case <-ctx.Done():
			return
		}
	}
}

// steady gives what is told of nodes whenever it changes.
func steady(nodes map[string]NodeStatus) map[string]string {
	all := map[string]string{}
	for name, n := range nodes {
		all[name] = fmt.Sprintf("connected %d, commit %d, applied %d, lags %v, errors %q, lacks %q", n.Connected.Unix(), n.Commit, n.Applied, n.Lagging(), n.Errors, n.Lacks)
	}
	return all
}

// statuses is what the Hub knows.
func statuses(t *testing.T, h *Hub) map[string]NodeStatus {
	t.Helper()
	all, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newest := map[string]NodeStatus{}
	for _, n := range all {
		newest[n.Node] = n // the newest comes last
	}
	return newest
}

// refuse makes a pool usable or not.
func refuse(t *testing.T, h *Hub, name, reason string) {
	t.Helper()
	u := Update{Kind: calc.KindIPPool}
	if reason == "" {
		u.Deletes = []Name{{Name: name}}
	} else {
		u.Refused = map[Name]string{{Name: name}: reason}
	}
	if err := h.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

// TestObserverKnowsWhatTheHubKnows: whatever happens, and however slowly an observer reads, in the end it knows the same.
func TestObserverKnowsWhatTheHubKnows(t *testing.T) {
	for seed := range uint64(long.Or(1000, 20)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { observeHistory(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func observeHistory(t *testing.T, r *rand.Rand) {
	h, stop := startHub(t)
	defer stop()
	list(t, h, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mirrors := []*mirror{newMirror(t), newMirror(t)}
	go mirrors[0].follow(ctx, h, func() time.Duration { return time.Second })
	var sessions []*Session
	reasons := map[resource]string{}
	for step := range 200 {
		switch n := r.IntN(10); {
		case n < 2 || len(sessions) == 0:
			s, err := h.connect(ctx, Hello{Node: fmt.Sprint("n", r.IntN(5)), Features: wire.AllFeatures.Names()}, true)
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
			refuse(t, h, name, reason)
			if reasons[resource{calc.KindIPPool, Name{Name: name}}] = reason; reason == "" {
				delete(reasons, resource{calc.KindIPPool, Name{Name: name}})
			}
		default:
			update(t, h, step+2, nil, pod(fmt.Sprint("a", step), fmt.Sprint("n", r.IntN(5)), "web", ""))
		}
		time.Sleep(time.Duration(r.IntN(10)) * time.Second / 2)
		if step == 100 {
			pause := time.Duration(r.IntN(60)) * time.Second
			go mirrors[1].follow(ctx, h, func() time.Duration { return pause })
		}
	}
	time.Sleep(5 * time.Minute) // the slow one reads a few times
	synctest.Wait()
	for i, m := range mirrors {
		if diff := cmp.Diff(steady(statuses(t, h)), steady(m.nodes)); diff != "" {
			t.Errorf("nodes (-hub +observer %d):\n%s", i, diff)
		}
		if diff := cmp.Diff(reasons, m.problems); diff != "" {
			t.Errorf("problems (-hub +observer %d):\n%s", i, diff)
		}
	}
}

// TestSlowObserver: what an observer leaves unread is merged, and holds nobody up.
func TestSlowObserver(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1)
	o, err := h.observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	m := newMirror(t)
	read := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		seen, err := o.next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		m.tell(seen)
	}
	read()
	const nodes, rounds = 3, 1000
	var sessions []*Session
	for i := range nodes {
		s, err := h.Connect(t.Context(), Hello{Node: fmt.Sprint("n", i)})
		if err != nil {
			t.Fatal(err)
		}
		next(t, s)
		sessions = append(sessions, s)
	}
	for round := range rounds {
		for _, s := range sessions {
			s.Report(wire.Report{Applied: uint64(round), Errors: []string{fmt.Sprint("round ", round)}})
		}
		refuse(t, h, "a", fmt.Sprint("round ", round))
	}
	refuse(t, h, "b", "")
	if _, err := h.Versions(t.Context()); err != nil { // all was taken in, and the last problems were given
		t.Fatal(err)
	}
	marks := 0
	if err := h.call(t.Context(), func() { h.flush(); marks = len(o.nodes) + len(o.problems) }); err != nil {
		t.Fatal(err)
	}
	if marks > nodes+2 {
		t.Errorf("%d marks for %d nodes and two resources", marks, nodes)
	}
	read()
	if m.told != 2 || len(m.nodes) != nodes || m.nodes["n1"].Applied != rounds-1 || m.problems[resource{calc.KindIPPool, Name{Name: "a"}}] != fmt.Sprint("round ", rounds-1) {
		t.Errorf("after %d messages: %+v, %v", m.told, m.nodes, m.problems)
	}
}

// TestLaggingIsToldOnce: a node that does not enforce what it has is told of when it begins to lag and when it ends, and not in between.
func TestLaggingIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := startHub(t)
		defer stop()
		list(t, h, 1)
		s, err := h.Connect(t.Context(), Hello{Node: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		next(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m := newMirror(t)
		go m.follow(ctx, h, func() time.Duration { return time.Second })
		expect := func(after time.Duration, told int, lags bool) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			m.Lock()
			defer m.Unlock()
			if n := m.nodes["n1"]; m.told != told || n.Lagging() != lags {
				t.Errorf("%d messages, want %d, the last: %+v", m.told, told, n)
			}
		}
		expect(lagsAfter, 1, false)
		expect(inspectInterval+time.Second, 2, true)
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
		h, stop := startHub(t)
		defer stop()
		list(t, h, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m := newMirror(t)
		go m.follow(ctx, h, func() time.Duration { return time.Second })
		connect := func() *Session {
			time.Sleep(time.Minute)
			s, err := h.Connect(ctx, Hello{Node: "n1"})
			if err != nil {
				t.Fatal(err)
			}
			next(t, s)
			return s
		}
		applied := func(want uint64, is bool) {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			m.Lock()
			defer m.Unlock()
			if n, there := m.nodes["n1"]; there != is || n.Applied != want {
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
		h, stop := startHub(t)
		m := newMirror(t)
		go m.follow(t.Context(), h, func() time.Duration { return 0 })
		refuse(t, h, "a", "no CIDR")
		time.Sleep(time.Minute)
		expect := func(told int) {
			t.Helper()
			synctest.Wait()
			m.Lock()
			defer m.Unlock()
			if m.told != told || len(m.problems) != told {
				t.Errorf("after %d messages: %v", m.told, m.problems)
			}
		}
		expect(0)
		list(t, h, 1)
		expect(1)
		o, err := h.observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.next(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		if _, err := o.next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after the hub ended: %v", err)
		}
	})
}

// TestErrorsOfAReportAreBounded, in number and size.
func TestErrorsOfAReportAreBounded(t *testing.T) {
	h, _ := startHub(t)
	list(t, h, 1)
	s, err := h.Connect(t.Context(), Hello{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	report := wire.Report{Errors: slices.Repeat([]string{strings.Repeat("ä", maxErrorSize)}, 2*maxErrors)}
	report.Errors[1] = "x" + report.Errors[1]
	s.Report(report)
	got := statuses(t, h)["n1"].Errors
	if len(got) != maxErrors || len(report.Errors[0]) != 2*maxErrorSize {
		t.Errorf("%d errors are kept; the caller's has %d octets", len(got), len(report.Errors[0]))
	}
	for _, text := range got {
		if len(text) > maxErrorSize+len("…") || len(text) < maxErrorSize-1 || !utf8.ValidString(text) {
			t.Errorf("%d octets are kept, valid: %v", len(text), utf8.ValidString(text))
		}
	}
}
