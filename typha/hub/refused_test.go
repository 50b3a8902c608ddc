package hub

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"testing"

	"github.com/prometheus/client_golang/prometheus"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/metric/metrictest"
)

// TestRefused: the metric counts by kind what cannot be read, until it can, or is gone. It names no resource: a tenant
// could make any number of them.
func TestRefused(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := New(Options{Metrics: NewMetrics(registry)})
	pool := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}}
	refused := func(reason string, names ...string) Update {
		u := Update{Kind: calc.KindIPPool, Refused: map[Name]string{}}
		for _, name := range names {
			u.Refused[Name{Name: name}] = reason
		}
		return u
	}
	for _, step := range []struct {
		update Update
		want   float64
	}{
		{refused("spec is no object", "a", "b"), 2},
		{refused("spec is a number", "a"), 2},
		{Update{Kind: calc.KindIPPool, Upserts: []metav1.Object{pool}}, 1},
		{refused("spec is no object", "a"), 2},
		{Update{Kind: calc.KindIPPool, Deletes: []Name{{Name: "a"}, {Name: "b"}}}, 0},
	} {
		h.input.update(step.update)
		h.flush()
		if got := metrictest.Value(t, registry, "typha_resource_unusable"); got != step.want {
			t.Errorf("after %+v the metric is %v, want %v", step.update, got, step.want)
		}
	}
}
