package calc_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/calc/compile"
)

// drawBudget gives one that some policies of a random cluster are beyond, each for another reason.
func (r random) drawBudget() compile.Budget {
	draw := func(low, high int) int {
		if r.chance(40) {
			return 0 // the default
		}
		return low + r.IntN(high-low)
	}
	return compile.Budget{
		PolicyRules: draw(2, 12), PolicySets: draw(1, 6), PolicyMembers: draw(2, 24),
		NamespaceRules: draw(4, 20), NamespaceSets: draw(2, 8), NamespaceMembers: draw(4, 40),
	}
}

// aged gives resources the ages by which policies come before others.
func (h *history) aged() {
	for i, make := range h.makers {
		h.makers[i] = func() metav1.Object {
			o := make()
			if created := o.GetCreationTimestamp(); created.IsZero() {
				o.SetCreationTimestamp(metav1.NewTime(time.Unix(int64(len(o.GetName())+h.r.IntN(4)), 0)))
			}
			return o
		}
	}
}

// TestBudgetsDoNotDependOnTheOrder: which policies fit follows from what there is, whatever order it came in; and what
// does not fit leaves nothing.
func TestBudgetsDoNotDependOnTheOrder(t *testing.T) {
	reasons := 0
	eachCluster(t, func(n int, h *history) {
		budget := h.r.drawBudget()
		h.engine = func() *calc.Engine { return calc.NewTight(budget) }
		if n%2 == 1 {
			h.engine = func() *calc.Engine { return calc.NewHeavy(budget) }
		}
		h.aged()
		e, w := h.run(t, 60)
		reasons += e.Residue()["problems"]
		w.equalsReplay(t, h)
		w.isLeftEmpty(t, h, e)
	})
	if reasons == 0 {
		t.Error("everything fitted always")
	}
}

// TestStepsEndWhereAFlushDoes makes a history in small steps, between which more happens, and expects what whole
// flushes give.
func TestStepsEndWhereAFlushDoes(t *testing.T) {
	steps := 0
	eachCluster(t, func(n int, h *history) {
		budget := h.r.drawBudget()
		if h.r.chance(50) {
			budget = compile.Budget{}
		}
		h.engine = func() *calc.Engine { return calc.NewTight(budget) }
		h.aged()
		e, w := calc.NewHeavy(budget), newWorld()
		for range 60 {
			h.step(e)
			for h.r.chance(60) {
				d, _ := e.Step(1 + h.r.IntN(20))
				w.apply(t, d)
			}
		}
		for more := true; more; steps++ {
			var d calc.Delta
			d, more = e.Step(1 + h.r.IntN(20))
			w.apply(t, d)
		}
		w.equalsReplay(t, h)
		w.isLeftEmpty(t, h, e)
	})
	if steps < *clusters {
		t.Errorf("%d steps: nothing took more than one", steps)
	}
}
