package calc_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestExplain compares what Explain says of flows with the oracle: the verdict of every endpoint at both ends, the
// tier, policy and rule that gave it, and what they would be if the staged policies were in force.
func TestExplain(t *testing.T) {
	counts := map[string]int{}
	eachCluster(t, func(n int, h *history) {
		e, _ := h.run(t, 20+h.r.IntN(60))
		inForce, trial := newTrial(h.live, h.r.selectors, false), newTrial(h.live, h.r.selectors, true)
		addrs := inForce.addresses()
		for range *flows / 3 {
			f := h.flow(addrs)
			x := e.Explain(calc.Flow{Src: f.src, Dst: f.dst, Protocol: f.protocol, SrcPort: f.sport, DstPort: f.dport,
				ICMPType: f.icmpType, ICMPCode: f.icmpCode})
			all := true
			for direction, decisions := range map[v3.PolicyType][]calc.Decision{v3.PolicyTypeEgress: x.Egress,
				v3.PolicyTypeIngress: x.Ingress} {
				end := f.src
				if direction == v3.PolicyTypeIngress {
					end = f.dst
				}
				var endpoints []*entity
				for _, en := range inForce.at(end) {
					if en.node != "" {
						endpoints = append(endpoints, en)
					}
				}
				if len(endpoints) != len(decisions) {
					t.Errorf("%s %s: %d decisions for %d endpoints", f, direction, len(decisions), len(endpoints))
					return
				}
				for _, d := range decisions {
					i := slices.IndexFunc(endpoints, func(en *entity) bool { return isOf(d, en) })
					if i < 0 {
						t.Errorf("%s %s: a decision of %s %s/%s, which is not there", f, direction, d.Kind, d.Namespace,
							d.Name)
						return
					}
					all = all && d.Action == wire.Allow
					if err := inForce.compare(d, trial, question{of: endpoints[i], direction: direction}, f,
						counts); err != nil {
						t.Errorf("%s %s: %s %s/%s: %v", f, direction, d.Kind, d.Namespace, d.Name, err)
						return
					}
				}
			}
			if all != x.Allowed {
				t.Errorf("%s: allowed is %v, and the decisions say %v", f, x.Allowed, all)
				return
			}
		}
	})
	t.Logf("decided by: %v", counts)
	for _, by := range []string{"rule", "end of a tier", "profile", "end of the profiles", "staged differs",
		"stage untracked", "stage preDNAT"} {
		if counts[by] == 0 && *only < 0 && *clusters >= 1000 {
			t.Errorf("nothing was decided by: %s", by)
		}
	}
}

func isOf(d calc.Decision, e *entity) bool {
	switch d.Kind {
	case calc.KindPod:
		return e.pod != nil && d.Namespace == e.namespace && d.Name == e.workload && d.Node == e.node
	case calc.KindWorkloadEndpoint:
		return e.pod == nil && e.workload != "" && d.Namespace == e.namespace && d.Name == e.workload &&
			d.Node == e.node
	}
	return e.host != nil && d.Kind == calc.KindHostEndpoint && d.Name == e.host.Name && d.Node == e.node
}

// trial is an oracle, and what in it is staged, by the resource that it stands for.
type trial struct {
	*oracle
	staged map[ref]metav1.Object
}

func newTrial(live map[ref]metav1.Object, s selectors, enforced bool) *trial {
	out := &trial{staged: map[ref]metav1.Object{}}
	for _, from := range slices.SortedFunc(maps.Keys(live), cmpRefs) {
		if !enforced || !isStaged(live[from]) {
			continue
		}
		then, at, action := enforce(live, live[from])
		live = then
		if action == v3.StagedActionSet {
			out.staged[at] = then[from]
		}
	}
	out.oracle = newOracle(live, s)
	return out
}

// compare compares one decision with those of the policies in force and of those on trial.
func (o *trial) compare(d calc.Decision, trial *trial, q question, f *flow, counts map[string]int) error {
	want, ok := o.outcome(q, f)
	if err := o.differs(d.Outcome, want, ok, counts); err != nil {
		return err
	}
	for _, en := range trial.at(map[v3.PolicyType]end{v3.PolicyTypeIngress: destination,
		v3.PolicyTypeEgress: source}[q.direction].addr(f)) {
		if en.host != q.of.host || en.workload != q.of.workload || en.namespace != q.of.namespace {
			continue
		}
		q.of = en
		would, known := trial.outcome(q, f)
		if d.Staged == nil {
			d.Staged = &d.Outcome
		} else if ok && known && would.verdict != want.verdict {
			counts["staged differs"]++
		}
		if err := trial.differs(*d.Staged, would, known, counts); err != nil {
			return fmt.Errorf("with what is staged: %w", err)
		}
	}
	return nil
}

// outcome asks the chains that a flow which begins or ends at an endpoint passes; false for what nobody knows.
func (o *trial) outcome(q question, f *flow) (decision, bool) {
	chains := []chain{normal}
	if q.of.host != nil {
		chains = []chain{untracked, preDNAT, normal}
	}
	for _, q.chain = range chains {
		if q.chain == untracked && q.of.host.Spec.InterfaceName == "*" { // "… do not support untracked policy."
			continue
		}
		d := o.decide(q, f)
		if d.verdict != undecided {
			d.features = []string{string(q.chain)}
			return d, d.verdict != unknown
		}
	}
	panic("the first chain leaves nothing undecided")
}

func (o *trial) differs(got calc.Outcome, want decision, known bool, counts map[string]int) error {
	if !known {
		return nil
	}
	by, has := got.By, "rule"
	wanted := calc.Step{Tier: want.tier, Rule: -1}
	switch {
	case want.policy != nil:
		at := want.policy.at
		wanted.Rule, wanted.Kind, wanted.Namespace, wanted.Name = want.rule, at.kind, at.ns, at.name
		if s := o.staged[at]; s != nil {
			wanted.Kind, wanted.Staged = kindOf(s), true
		}
	case want.profile != "":
		has = "profile"
		wanted.Rule, wanted.Kind, wanted.Name = want.rule, calc.KindProfile, want.profile
	case want.tier != "":
		has = "end of a tier"
	default:
		has = "end of the profiles"
	}
	counts[has]++
	if stage := want.features[0]; stage != string(normal) {
		wanted.Stage = stage
		counts["stage "+stage]++
	}
	by.Policy, by.Action, by.Matched = "", 0, false
	if verdicts[got.Action] != want.verdict || by != wanted {
		return fmt.Errorf("%s by %+v; oracle: %s by %+v", verdicts[got.Action], got.By, want.verdict, wanted)
	}
	if last := got.Steps[len(got.Steps)-1]; last != got.By {
		return fmt.Errorf("decided by %+v, and the last step is %+v", got.By, last)
	}
	return nil
}
