package ippool

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestJudge(t *testing.T) {
	pool := func(name, cidr string, minute int) *v3.IPPool {
		created := time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)
		return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(created)},
			Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	with := func(change func(*v3.IPPoolSpec)) []*v3.IPPool {
		p := pool("a", "10.0.0.0/16", 0)
		change(&p.Spec)
		// b is younger, and takes the place of a pool that cannot work
		return []*v3.IPPool{p, pool("b", "10.0.0.0/16", 1)}
	}
	disabled, deleted := pool("d", "10.0.0.0/8", 0), pool("t", "10.0.0.0/8", 0)
	disabled.Spec.Disabled = true
	unreadable := pool("s", "10.0.0.0/8", 0)
	unreadable.Spec.NodeSelector = "rack ="
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	tests := map[string]struct {
		pools []*v3.IPPool
		want  map[string]string // reason, and part of the message
	}{
		"alone": {[]*v3.IPPool{pool("a", "10.0.0.0/16", 1)}, map[string]string{"a": "OK"}},
		"no overlap": {[]*v3.IPPool{pool("a", "10.0.0.0/16", 1), pool("b", "10.1.0.0/16", 0)},
			map[string]string{"a": "OK", "b": "OK"}},
		"older wins": {[]*v3.IPPool{pool("a", "10.0.0.0/16", 1), pool("b", "10.0.0.0/8", 0)},
			map[string]string{"a": "CIDROverlap of IPPool b", "b": "OK"}},
		"name decides": {[]*v3.IPPool{pool("b", "10.0.0.0/16", 0), pool("a", "10.0.0.0/24", 0)},
			map[string]string{"a": "OK", "b": "CIDROverlap of IPPool a"}},
		"loser's loser": {[]*v3.IPPool{pool("a", "10.0.0.0/24", 0), pool("b", "10.0.0.0/16", 1),
			pool("c", "10.0.9.0/24", 2)}, map[string]string{"a": "OK", "b": "CIDROverlap of IPPool a", "c": "OK"}},
		"disabled": {[]*v3.IPPool{disabled, pool("a", "10.0.0.0/16", 1)},
			map[string]string{"a": "OK", "d": "PoolDisabled"}},
		"being deleted": {[]*v3.IPPool{deleted, pool("a", "10.0.0.0/16", 1)},
			map[string]string{"a": "OK", "t": "Terminating"}},
		"selector": {[]*v3.IPPool{unreadable},
			map[string]string{"s": "InvalidSpec spec.nodeSelector selects nothing"}},
		"IPIP": {with(func(s *v3.IPPoolSpec) { s.IPIPMode, s.VXLANMode = "Always", "Never" }),
			map[string]string{"a": "Unsupported set ipipMode to Never and vxlanMode to Always", "b": "OK"}},
		"IPIP between subnets": {with(func(s *v3.IPPoolSpec) { s.IPIPMode = "CrossSubnet" }),
			map[string]string{"a": "Unsupported vxlanMode to CrossSubnet", "b": "OK"}},
		"IPIP and VXLAN": {with(func(s *v3.IPPoolSpec) { s.IPIPMode, s.VXLANMode = "Always", "Always" }),
			map[string]string{"a": "InvalidSpec set ipipMode to Never", "b": "OK"}},
		"unknown VXLAN mode": {with(func(s *v3.IPPoolSpec) { s.VXLANMode = "Sometimes" }),
			map[string]string{"a": "InvalidSpec spec.vxlanMode", "b": "OK"}},
		"unknown IPIP mode": {with(func(s *v3.IPPoolSpec) { s.IPIPMode = "Sometimes" }),
			map[string]string{"a": "InvalidSpec spec.ipipMode", "b": "OK"}},
		"modes that work": {with(func(s *v3.IPPoolSpec) { s.IPIPMode, s.VXLANMode = "Never", "CrossSubnet" }),
			map[string]string{"a": "OK", "b": "CIDROverlap"}},
		"load balancers": {with(func(s *v3.IPPoolSpec) { s.AllowedUses = []v3.IPPoolAllowedUse{"LoadBalancer"} }),
			map[string]string{"a": "Unsupported spec.allowedUses", "b": "OK"}},
		"tunnels": {with(func(s *v3.IPPoolSpec) { s.AllowedUses = []v3.IPPoolAllowedUse{"Tunnel"} }),
			map[string]string{"a": "OK", "b": "CIDROverlap"}},
		"host bits": {[]*v3.IPPool{pool("a", "10.0.0.1/16", 1), pool("b", "10.0.0.0/16", 2)},
			map[string]string{"a": "InvalidSpec spec.cidr", "b": "OK"}},
		"malformed CIDR": {[]*v3.IPPool{pool("a", "10.0.0.0", 1)}, map[string]string{"a": "InvalidSpec spec.cidr"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			verdicts := Judge(test.pools)
			for pool, want := range test.want {
				reason, message, _ := strings.Cut(want, " ")
				if got := verdicts[pool]; got.Reason != reason || !strings.Contains(got.Message, message) {
					t.Errorf("pool %s: %s %q, want %s", pool, got.Reason, got.Message, want)
				}
			}
			slices.Reverse(test.pools)
			if diff := cmp.Diff(verdicts, Judge(test.pools)); diff != "" {
				t.Errorf("the order matters (-one +other):\n%s", diff)
			}
		})
	}
}
