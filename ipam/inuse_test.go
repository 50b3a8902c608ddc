package ipam

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// TestInUse: what keeps a pool that is being deleted are the addresses of pods in blocks of this pool alone.
func TestInUse(t *testing.T) {
	const tunnel, resting = "tunnel", "resting"
	block := func(cidr, name string, owners ...string) v3.IPAMBlock {
		b := v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v3.IPAMBlockSpec{CIDR: cidr, Affinity: "host:n1"}}
		for i := range 4 {
			if i >= len(owners) {
				b.Spec.Allocations, b.Spec.Unallocated = append(b.Spec.Allocations, nil), append(b.Spec.Unallocated, i)
				continue
			}
			handle := owners[i]
			attribute := v3.AllocationAttribute{HandleID: &handle, ActiveOwnerAttrs: map[string]string{"node": "n1"}}
			switch handle {
			case tunnel:
				attribute.ActiveOwnerAttrs["type"] = "vxlanTunnelAddress"
			case resting:
				attribute = v3.AllocationAttribute{ReleasedAt: &metav1.Time{}}
			}
			at := len(b.Spec.Attributes)
			b.Spec.Allocations, b.Spec.Attributes = append(b.Spec.Allocations, &at),
				append(b.Spec.Attributes, attribute)
		}
		return b
	}
	damaged := block("10.0.0.8/30", "10-0-0-8-30", "damaged")
	damaged.Spec.Attributes = nil
	blocks := []v3.IPAMBlock{block("10.0.0.0/30", "10-0-0-0-30", "web", tunnel, "db"),
		block("10.0.0.4/30", "10-0-0-4-30", resting),
		damaged, block("10.1.0.0/30", "10-1-0-0-30", "outside")}
	pool := func(name, cidr string) v3.IPPool {
		return v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	going := pool("going-too", "10.0.0.0/24")
	going.DeletionTimestamp = &metav1.Time{Time: metav1.Now().Time}
	both := []string{"web 10.0.0.0", "db 10.0.0.2"}
	for name, test := range map[string]struct {
		cidr   string
		others []v3.IPPool
		want   []string
	}{
		"alone":                        {"10.0.0.0/16", nil, both},
		"beside another":               {"10.0.0.0/16", []v3.IPPool{pool("b", "10.1.0.0/16")}, both},
		"another contains the block":   {"10.0.0.0/16", []v3.IPPool{pool("b", "10.0.0.0/24")}, nil},
		"another contains a part":      {"10.0.0.0/16", []v3.IPPool{pool("b", "10.0.0.0/31")}, both},
		"another is being deleted":     {"10.0.0.0/16", []v3.IPPool{going}, both},
		"another cannot be read":       {"10.0.0.0/16", []v3.IPPool{pool("b", "all")}, both},
		"unused":                       {"10.2.0.0/16", nil, nil},
		"contains only a part of them": {"10.0.0.0/31", nil, nil},
		"cannot be read":               {"all", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			deleted := pool("a", test.cidr)
			var got []string
			for _, a := range InUse(&deleted, append(test.others, deleted), blocks) {
				got = append(got, fmt.Sprintf("%s %s", a.Handle, a.Addr))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
