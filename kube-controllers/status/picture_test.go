package status

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
)

const kindGNP = calc.KindGlobalNetworkPolicy

// says gives what a replica says of policies: "name=reason" each.
func says(whole bool, problems ...string) hub.Observed {
	o := hub.Observed{Whole: whole}
	for _, v := range problems {
		name, reason, _ := strings.Cut(v, "=")
		o.Problems = append(o.Problems, calc.Problem{Kind: kindGNP, Name: name, Reason: reason})
	}
	return o
}

// TestProblemsOfReplicasAreOne follows what stands of the policies p and q.
func TestProblemsOfReplicasAreOne(t *testing.T) {
	type step struct {
		replica string
		says    *hub.Observed // nil: it is lost
		want    string
	}
	whole := func(v ...string) *hub.Observed { o := says(true, v...); return &o }
	news := func(v ...string) *hub.Observed { o := says(false, v...); return &o }
	for name, steps := range map[string][]step{
		"one replica": {
			{"a", whole("p=bad"), "p=bad inherited"}, {"a", news("q=worse"), "p=bad inherited, q=worse"},
			{"a", news("p="), "q=worse"}, {"a", news("p=bad"), "p=bad, q=worse"}},
		"the last that says so withdraws": {
			{"a", whole("p=bad"), "p=bad inherited"}, {"b", whole("p=bad"), "p=bad inherited"},
			{"a", news("p="), "p=bad inherited"}, {"b", news("p="), ""}},
		"one that starts has said nothing yet": {
			{"a", whole("p=bad"), "p=bad inherited"}, {"b", news("p="), "p=bad inherited"},
			{"b", whole(), "p=bad inherited"},
			{"a", news("p="), ""}},
		"the one that knows more is heard second": {{"a", whole(), ""}, {"b", whole("p=bad"), "p=bad"}},
		"of two reasons the latest news": {
			{"a", whole("p=old"), "p=old inherited"}, {"b", whole("p=old"), "p=old inherited"},
			{"b", news("p=new"), "p=new"},
			{"a", nil, "p=new"}, {"a", whole("p=old"), "p=new"}, {"a", news("p=new"), "p=new"}},
		"of two that are no news always the same": {
			{"a", whole("p=x"), "p=x inherited"}, {"b", whole("p=y"), "p=y"}, {"b", nil, "p=x"},
			{"b", whole("p=y"), "p=y"}},
		"while none is observed all stand": {
			{"a", whole("p=bad", "q=bad"), "p=bad inherited, q=bad inherited"},
			{"a", nil, "p=bad inherited, q=bad inherited"},
			{"b", whole("q=bad"), "q=bad inherited"}},
		"what only the lost one said goes": {
			{"a", whole("p=bad"), "p=bad inherited"}, {"b", whole(), "p=bad inherited"}, {"a", nil, ""}},
		"a whole voids what was said before": {{"a", whole("p=bad"), "p=bad inherited"},
			{"a", whole("q=bad"), "q=bad"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, before := newPicture(), ""
			for i, s := range steps {
				var c change
				if s.says == nil {
					c = p.lose(s.replica)
				} else {
					c = p.take(s.replica, *s.says)
				}
				got := standing(p)
				if got != s.want {
					t.Fatalf("step %d: stands %q, want %q", i, got, s.want)
				}
				if (len(c.resources) > 0) != (got != before) {
					t.Errorf("step %d: from %q to %q, of which %v is told", i, before, got, c.resources)
				}
				before = got
			}
		})
	}
}

func standing(p *picture) string {
	var all []string
	for key, v := range p.problems {
		all = append(all, key.Name+"="+v.reason+map[bool]string{true: " inherited"}[v.inherited])
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// TestNodesAreOne: where it is connected counts, and that it is nowhere is known only when every replica that is ready
// was heard.
func TestNodesAreOne(t *testing.T) {
	p := newPicture()
	expect := func(want string) {
		t.Helper()
		status, connected, known := p.node("n")
		got := map[bool]string{true: "not connected", false: "not known"}[known]
		if connected {
			got = fmt.Sprint("commit ", status.Commit)
		}
		if got != want {
			t.Errorf("the node is %s, want %s", got, want)
		}
	}
	start := time.Now()
	on := func(commit uint64, connected time.Time) hub.Observed {
		return hub.Observed{Whole: true, Nodes: []hub.NodeStatus{{Node: "n", Commit: commit, Connected: connected}}}
	}
	told := func(c change, want bool) {
		t.Helper()
		if c.everyNode != want {
			t.Errorf("every node is looked at: %t, want %t", c.everyNode, want)
		}
	}
	expect("not known") // as long as nobody knows the replicas
	told(p.take("a", hub.Observed{Whole: true}), false)
	expect("not known")
	told(p.list(map[string]bool{"a": true, "b": true}), false)
	expect("not known")
	told(p.take("b", hub.Observed{Whole: true}), true)
	expect("not connected")
	p.take("a", on(7, start))
	p.take("b", on(1, start.Add(time.Second))) // the node went from a to b
	expect("commit 1")
	p.take("a", hub.Observed{Gone: []string{"n"}})
	expect("commit 1")
	if c := p.lose("b"); !slices.Contains(c.nodes, "n") {
		t.Error("nobody looks at the nodes of a replica that is lost")
	}
	expect("not known") // it may still be there
	told(p.list(map[string]bool{"a": true}), true)
	expect("not connected")
	p.take("b", on(3, start.Add(time.Minute))) // it is not ready, since it hands its nodes over
	expect("commit 3")
	told(p.list(map[string]bool{}), false)
	p.lose("b")
	expect("not connected") // there is no replica at all
}

// TestOnlyWhatMattersIsLookedAt: a node that applies one commit after the other costs nothing.
func TestOnlyWhatMattersIsLookedAt(t *testing.T) {
	p := newPicture()
	p.take("a", hub.Observed{Whole: true, Nodes: []hub.NodeStatus{{Node: "n", Commit: 1}}})
	for i, step := range []struct {
		status hub.NodeStatus
		looked bool
	}{
		{hub.NodeStatus{Commit: 2, BehindSeconds: 1}, false},
		{hub.NodeStatus{Commit: 2, Applied: 1}, true},
		{hub.NodeStatus{Commit: 3, Applied: 2}, false},
		{hub.NodeStatus{Commit: 9, Applied: 2, BehindSeconds: 11}, true},
		{hub.NodeStatus{Commit: 9, Applied: 2, BehindSeconds: 12}, false},
		{hub.NodeStatus{Commit: 9, Applied: 9}, true},
		{hub.NodeStatus{Commit: 9, Applied: 9, Errors: []string{"one"}}, true},
		{hub.NodeStatus{Commit: 9, Applied: 9, Errors: []string{"two"}}, true},
		{hub.NodeStatus{Commit: 9, Applied: 9, Errors: []string{"two"}, Lacks: []string{"not-icmp"}}, true},
		{hub.NodeStatus{Commit: 9, Applied: 9, Errors: []string{"two"}, Lacks: []string{"not-icmp"},
			Connected: time.Now()}, true},
	} {
		step.status.Node = "n"
		if c := p.take("a", hub.Observed{Nodes: []hub.NodeStatus{step.status}}); (len(c.nodes) > 0) != step.looked {
			t.Errorf("step %d: looks at %v", i, c.nodes)
		}
	}
}
