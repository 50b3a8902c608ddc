package calc_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

func nodeStatus(name, node string, period *uint32, classes ...v3.NodeStatusClassType) *v3.CalicoNodeStatus {
	return &v3.CalicoNodeStatus{ObjectMeta: meta(name), Spec: v3.CalicoNodeStatusSpec{Node: node, Classes: classes,
		UpdatePeriodSeconds: period}}
}

// TestStatusRequests: a node, and no other, is asked for all that CalicoNodeStatuses ask of it, as often as the most
// frequent.
func TestStatusRequests(t *testing.T) {
	e, w := calc.New(), newWorld()
	written := nodeStatus("b", "n1", pointer(uint32(0)), v3.NodeStatusClassTypeRoutes)
	written.Status.LastUpdated = metav1.NewTime(time.Unix(1, 0))
	for _, step := range []struct {
		what   string
		change func()
		want   map[string]*wire.StatusRequest
	}{
		{"one asks", func() { e.Upsert(nodeStatus("a", "n1", nil, v3.NodeStatusClassTypeBGP)) },
			map[string]*wire.StatusRequest{"n1": {Node: "n1", BGP: true, PeriodSeconds: 10}}},
		{"another of the same node, once", func() {
			e.Upsert(nodeStatus("b", "n1", pointer(uint32(0)),
				v3.NodeStatusClassTypeRoutes))
		},
			map[string]*wire.StatusRequest{"n1": {Node: "n1", BGP: true, Routes: true, PeriodSeconds: 10}}},
		{"more often", func() { e.Upsert(nodeStatus("a", "n1", pointer(uint32(3)), v3.NodeStatusClassTypeBGP)) },
			map[string]*wire.StatusRequest{"n1": {Node: "n1", BGP: true, Routes: true, PeriodSeconds: 3}}},
		{"the one is written", func() { e.Upsert(written) },
			map[string]*wire.StatusRequest{"n1": {Node: "n1", BGP: true, PeriodSeconds: 3}}},
		{"of another node", func() {
			e.Upsert(nodeStatus("a", "n2", pointer(uint32(60)),
				v3.NodeStatusClassTypeAgent))
		},
			map[string]*wire.StatusRequest{"n2": {Node: "n2", Agent: true, PeriodSeconds: 60}}},
		{"none", func() { e.Delete(calc.KindCalicoNodeStatus, "", "a"); e.Delete(calc.KindCalicoNodeStatus, "", "b") },
			map[string]*wire.StatusRequest{}},
	} {
		step.change()
		w.apply(t, e.Flush())
		got := map[string]*wire.StatusRequest{}
		for id, o := range w.objects {
			if r, is := o.(*wire.StatusRequest); is {
				got[id.Name] = r
			}
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", step.what, diff)
		}
		for _, node := range []string{"n1", "n2"} {
			id := wire.ID{Kind: wire.KindStatusRequest, Name: node}
			if w.needs[node][id] != (step.want[node] != nil) || w.needs["n3"][id] {
				t.Errorf("%s: request of %s: needed by %v", step.what, node, w.needs)
			}
		}
	}
}
