package ipamgc

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
)

// figures reads the metrics of addresses.
func figures(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			if len(name) > 5 && name[:5] == "ipam_" {
				all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return all
}

// TestMeasure: each figure follows what it counts, and a pool's and a node's own go with them.
func TestMeasure(t *testing.T) {
	reclamations.Reset()
	blocks, addr := assigned(t, "a", map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: "web"})
	blocks[0].Spec.Affinity = "host:b" // from which a has borrowed
	pool := v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v3.IPPoolSpec{CIDR: blocks[0].Spec.CIDR}}
	s := &snapshot{blocks: blocks, pools: []v3.IPPool{pool}, reserved: reservedBy([]v3.IPReservation{
		{Spec: v3.IPReservationSpec{ReservedCIDRs: []string{addr.String() + "/32", "nonsense", "192.0.2.0/24"}}}})}
	leaked := []block.Allocation{{Lease: block.Lease{Addr: addr, Handle: "h"},
		Attributes: map[string]string{ipam.AttrNode: "a"}}}
	measure(s, verdict{candidates: leaked})
	reclaimed(s, leaked, []block.Lease{leaked[0].Lease})
	want := map[string]float64{
		"ipam_allocations_in_use ippool=p node=a": 1, "ipam_allocations_per_node node=a": 1,
		"ipam_allocations_borrowed ippool=p node=a": 1, "ipam_allocations_borrowed_per_node node=a": 1,
		"ipam_blocks ippool=p node=b": 1, "ipam_blocks_per_node node=b": 1,
		"ipam_allocations_gc_candidates ippool=p node=a": 1, "ipam_allocations_gc_reclamations ippool=p node=a": 1,
		"ipam_ippool_size ippool=p": 64, "ipam_ippool_reserved ippool=p": 1,
	}
	if diff := cmp.Diff(want, figures(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	measure(&snapshot{}, verdict{})
	if diff := cmp.Diff(map[string]float64{"ipam_allocations_gc_reclamations ippool=p node=a": 1},
		figures(t)); diff != "" {
		t.Errorf("without pools and blocks (-want +got):\n%s", diff)
	}
}
