package hubtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
)

// Mirror is what an observer knows. Hear checks what an observer relies on. Lock it to read the fields while Hear may
// be called.
type Mirror struct {
	sync.Mutex
	Nodes    map[string]hub.NodeStatus
	Problems map[calc.Problem]string // the reasons, by problems without a reason
	Heard    int                     // messages

	t *testing.T
}

// NewMirror returns a Mirror that has heard nothing.
func NewMirror(t *testing.T) *Mirror {
	return &Mirror{t: t, Nodes: map[string]hub.NodeStatus{}, Problems: map[calc.Problem]string{}}
}

// Hear takes over what an observer is sent.
func (m *Mirror) Hear(seen hub.Observed) {
	m.Lock()
	defer m.Unlock()
	if seen.Whole != (m.Heard == 0) {
		m.t.Errorf("message %d is whole: %v", m.Heard+1, seen.Whole)
	}
	m.Heard++
	if seen.Whole {
		m.Nodes, m.Problems = map[string]hub.NodeStatus{}, map[calc.Problem]string{}
		solved := func(p calc.Problem) bool { return p.Reason == "" }
		if len(seen.Gone) > 0 || slices.ContainsFunc(seen.Problems, solved) {
			m.t.Errorf("a whole message says what is not: %+v", seen)
		}
	} else if len(seen.Nodes)+len(seen.Gone)+len(seen.Problems) == 0 {
		m.t.Error("a message says nothing")
	}
	for _, n := range seen.Nodes {
		m.Nodes[n.Node] = n
	}
	for _, name := range seen.Gone {
		delete(m.Nodes, name)
	}
	for _, p := range seen.Problems {
		if p.Reason == "" {
			delete(m.Problems, p)
			continue
		}
		reason := p.Reason
		p.Reason = ""
		m.Problems[p] = reason
	}
}

// Follow has the mirror hear what an observer reads, with a pause after each message, until ctx or the Hub ends.
func (m *Mirror) Follow(ctx context.Context, h *hub.Hub, pause func() time.Duration) {
	o, err := h.Observe(ctx)
	if err != nil {
		m.t.Error(err)
		return
	}
	defer o.Close()
	for {
		seen, err := o.Next(ctx)
		if err != nil {
			return
		}
		m.Hear(seen)
		select {
		case <-time.After(pause()):
		case <-ctx.Done():
			return
		}
	}
}

// Steady returns, as text, the part of each status of which observers are told whenever it changes.
func Steady(nodes map[string]hub.NodeStatus) map[string]string {
	all := map[string]string{}
	for name, n := range nodes {
		all[name] = fmt.Sprintf("connected %d, commit %d, applied %d, lags %v, errors %q, lacks %q",
			n.Connected.Unix(), n.Commit, n.Applied, n.Lagging(), n.Errors, n.Lacks)
	}
	return all
}

// Statuses returns the status of each node as the Hub knows it.
func Statuses(t *testing.T, h *hub.Hub) map[string]hub.NodeStatus {
	t.Helper()
	all, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newest := map[string]hub.NodeStatus{}
	for _, n := range all {
		newest[n.Node] = n // the newest comes last
	}
	return newest
}

// Refuse hands an IPPool to the Hub that cannot be read, or deletes it if there is no reason.
func Refuse(t *testing.T, h *hub.Hub, name, reason string) {
	t.Helper()
	u := hub.Update{Kind: calc.KindIPPool}
	if reason == "" {
		u.Deletes = []hub.Name{{Name: name}}
	} else {
		u.Refused = map[hub.Name]string{{Name: name}: reason}
	}
	if err := h.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}
