package calc_test

import (
	"reflect"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestOversizedServiceClosesItsRules: who may write EndpointSlices opens no policy by making a Service too large. A
// rule that allows then allows nothing, one that denies or passes denies, and the policy says why until the Service is
// smaller.
func TestOversizedServiceClosesItsRules(t *testing.T) {
	end := v3.EntityRule{Services: &v3.ServiceMatch{Name: "shop", Namespace: "ns"}}
	policy := global("p", "all()")
	policy.Spec.Types = []v3.PolicyType{v3.PolicyTypeEgress}
	policy.Spec.Egress = []v3.Rule{{Action: v3.Allow, Destination: end}, {Action: v3.Deny, Destination: end},
		{Action: v3.Pass, Source: end}, {Action: v3.Allow}}
	large, small := endpoints("large", 1000, 200), endpoints("small", 1, 1)
	for name, order := range map[string][]metav1.Object{
		"policy first": {policy, small, large}, "policy last": {small, large, policy},
		"large first": {large, small, policy},
	} {
		for _, each := range []bool{false, true} {
			e, w, reason := calc.New(), newWorld(), ""
			e.Upsert(namespaceOf("ns"))
			e.Upsert(labelledPod("a"))
			flush := func() []wire.Rule {
				d := e.Flush()
				w.apply(t, d)
				for _, v := range d.Problems {
					if v.Name == "p" {
						reason = v.Reason
					}
				}
				p, is := w.objects[wire.ID{Kind: wire.KindPolicy, Name: "gnp.default/p"}].(*wire.Policy)
				if !is {
					return nil
				}
				return p.Egress
			}
			open := func(step string) {
				t.Helper()
				rules := flush()
				if len(rules) != 4 || len(rules[1].Dst.PortSets) != 1 || rules[2].Action != wire.Pass || reason != "" {
					t.Errorf("%s: %s: reason %q, rules %+v", name, step, reason, rules)
				}
			}
			closed := func(step string) {
				t.Helper()
				rules := flush()
				deny := wire.Rule{Action: wire.Deny}
				if len(rules) != 4 || len(rules[0].Dst.PortSets) != 1 || !reflect.DeepEqual(rules[1], deny) ||
					!reflect.DeepEqual(withoutEmpty(rules[2]), deny) || !strings.Contains(reason, "ns/shop") {
					t.Errorf("%s: %s: reason %q, rules %+v", name, step, reason, rules)
				}
				for _, o := range w.objects {
					if s, is := o.(*wire.IPSet); is && len(s.Nets)+len(s.Ports) > 0 {
						t.Errorf("%s: %s: set %s has members", name, step, s.Name)
					}
				}
			}
			for _, o := range order {
				e.Upsert(o)
				if each {
					flush()
				}
			}
			closed("with the large slice")
			e.Upsert(endpoints("large", 2, 2))
			open("made small")
			e.Upsert(large)
			closed("made large again")
			e.Delete(calc.KindEndpointSlice, "ns", "large")
			open("deleted")
			e.Upsert(large)
			closed("made again")
			e.Delete(calc.KindGlobalNetworkPolicy, "", "p")
			flush()
			if reason != "" {
				t.Errorf("%s: without the policy: %s", name, reason)
			}
			for _, s := range []*discoveryv1.EndpointSlice{large, small} {
				e.Delete(calc.KindEndpointSlice, s.Namespace, s.Name)
			}
			e.Delete(calc.KindPod, "ns", "a")
			e.Delete(calc.KindNamespace, "", "ns")
			flush()
			if residue := e.Residue(); len(residue) > 0 {
				t.Errorf("%s: left in the engine: %v", name, residue)
			}
		}
	}
}

// withoutEmpty gives a rule with nil for its empty list of sets.
func withoutEmpty(r wire.Rule) wire.Rule {
	if len(r.Src.Sets) == 0 {
		r.Src.Sets = nil
	}
	return r
}
