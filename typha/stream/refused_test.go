package stream

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
)

// TestRefused: the metric names what cannot be read, until it can, or is gone.
func TestRefused(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := NewHub(HubOptions{Metrics: NewMetrics(registry)})
	pool := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}}
	refused := Update{Kind: calc.KindIPPool, Refused: map[Name]string{{Name: "a"}: "spec is no object"}}
	for _, step := range []struct {
		update Update
		want   []string
	}{
		{refused, []string{"IPPool.projectcalico.org/a"}},
		{Update{Kind: calc.KindIPPool, Upserts: []metav1.Object{pool}}, nil},
		{refused, []string{"IPPool.projectcalico.org/a"}},
		{Update{Kind: calc.KindIPPool, Deletes: []Name{{Name: "a"}}}, nil},
	} {
		h.update(step.update)
		h.flush()
		if diff := cmp.Diff(step.want, unusable(t, registry)); diff != "" {
			t.Errorf("after %+v (-want +got):\n%s", step.update, diff)
		}
	}
}

// unusable reads the metric.
func unusable(t *testing.T, registry *prometheus.Registry) (resources []string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "typha_resource_unusable" {
			continue
		}
		for _, m := range family.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			resources = append(resources, labels["kind"]+"/"+labels["name"])
		}
	}
	return resources
}
