package validate_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
)

// large gives objects of the size that etcd takes, in which all is wrong, or only the last of very many.
func large() map[string]runtime.Object {
	const many = 300_000
	of := func(nets []string) *v3.NetworkSet {
		return &v3.NetworkSet{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: v3.NetworkSetSpec{Nets: nets}}
	}
	distinct, same := make([]string, many), make([]string, many)
	for i := range many {
		distinct[i], same[i] = fmt.Sprint(i), "x"
	}
	policy := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	for range 1024 {
		policy.Spec.Ingress = append(policy.Spec.Ingress,
			v3.Rule{Action: "x", Source: v3.EntityRule{Nets: distinct[:200], NotNets: distinct[:200]}})
	}
	last := of(nil)
	for i := range 50_000 {
		last.Spec.Nets = append(last.Spec.Nets, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	last.Spec.Nets = append(last.Spec.Nets, "x")
	return map[string]runtime.Object{"networks, each wrong in its way": of(distinct),
		"the same wrong network": of(same),
		"rules":                  policy, "the last network": last}
}

// TestLargeObjectsAreJudgedAtOnce: judging takes time by an object's size, and what it says is short. Were it by the
// size's square, this would take minutes.
func TestLargeObjectsAreJudgedAtOnce(t *testing.T) {
	for name, o := range large() {
		errs := validate.Object(o)
		if len(errs) == 0 || len(errs) > 100 {
			t.Errorf("%s: %d errors", name, len(errs))
		}
		if text := errs.ToAggregate().Error(); len(text) > 100_000 {
			t.Errorf("%s: the errors have %d characters", name, len(text))
		} else if name == "the last network" && !strings.Contains(text, "spec.nets[50000]") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func BenchmarkLargeObjects(b *testing.B) {
	for name, o := range large() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				validate.Object(o)
			}
		})
	}
}
