package calc_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
)

// shrink gives what is left of a cluster after everything is taken out without which engine and oracle still differ
// about a flow, as text for the one who reads the failure.
func (h *history) shrink(t *testing.T, q question, f *flow) string {
	live := maps.Clone(h.live)
	if !h.differ(t, live, q, f) {
		return "an engine that sees only what there is now agrees with the oracle"
	}
	for _, at := range slices.SortedFunc(maps.Keys(live), cmpRefs) {
		object := live[at]
		delete(live, at)
		if !h.differ(t, live, q, f) {
			live[at] = object
		}
	}
	var b strings.Builder
	b.WriteString("they differ with these alone:")
	for _, at := range slices.SortedFunc(maps.Keys(live), cmpRefs) {
		text, err := json.Marshal(live[at])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n%s %s", at.kind, text)
	}
	return b.String()
}

// differ says whether engine and oracle differ about a flow at the same endpoint in another cluster.
func (h *history) differ(t *testing.T, live map[ref]metav1.Object, q question, f *flow) bool {
	o := newOracle(live, h.r.selectors)
	switch {
	case q.of.host != nil:
		if live[refOf(q.of.host)] == nil {
			return false
		}
		q.of = o.hostEntity(q.of.host)
	default:
		end := f.src
		if q.direction == "Ingress" {
			end = f.dst
		}
		e := o.workloadAt(end)
		if e == nil || e.namespace != q.of.namespace || e.workload != q.of.workload {
			return false
		}
		q.of = e
	}
	e, w := calc.NewBounded(), newWorld()
	for _, object := range live {
		e.Upsert(object)
	}
	w.apply(t, e.Flush())
	got, err := w.decide(q, f)
	want := o.decide(q, f).verdict
	return err != nil || want != unknown && got != want
}
