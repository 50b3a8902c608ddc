package ippool

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestJudge(t *testing.T) {
	pool := func(name, cidr string, minute int) v3.IPPool {
		created := time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)
		return v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(created)},
			Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	disabled, deleted := pool("d", "10.0.0.0/8", 0), pool("t", "10.0.0.0/8", 0)
	disabled.Spec.Disabled = true
	unreadable := pool("s", "10.0.0.0/8", 0)
	unreadable.Spec.NodeSelector = "rack ="
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	tests := map[string]struct {
		pools []v3.IPPool
		want  map[string]string // reason, and part of the message
	}{
		"alone":          {[]v3.IPPool{pool("a", "10.0.0.0/16", 1)}, map[string]string{"a": "OK"}},
		"no overlap":     {[]v3.IPPool{pool("a", "10.0.0.0/16", 1), pool("b", "10.1.0.0/16", 0)}, map[string]string{"a": "OK", "b": "OK"}},
		"older wins":     {[]v3.IPPool{pool("a", "10.0.0.0/16", 1), pool("b", "10.0.0.0/8", 0)}, map[string]string{"a": "CIDROverlap of IPPool b", "b": "OK"}},
		"name decides":   {[]v3.IPPool{pool("b", "10.0.0.0/16", 0), pool("a", "10.0.0.0/24", 0)}, map[string]string{"a": "OK", "b": "CIDROverlap of IPPool a"}},
		"loser's loser":  {[]v3.IPPool{pool("a", "10.0.0.0/24", 0), pool("b", "10.0.0.0/16", 1), pool("c", "10.0.9.0/24", 2)}, map[string]string{"a": "OK", "b": "CIDROverlap of IPPool a", "c": "OK"}},
		"disabled":       {[]v3.IPPool{disabled, pool("a", "10.0.0.0/16", 1)}, map[string]string{"a": "OK", "d": "PoolDisabled"}},
		"being deleted":  {[]v3.IPPool{deleted, pool("a", "10.0.0.0/16", 1)}, map[string]string{"a": "OK", "t": "Terminating"}},
		"selector":       {[]v3.IPPool{unreadable}, map[string]string{"s": "InvalidSpec spec.nodeSelector selects nothing"}},
		"malformed CIDR": {[]v3.IPPool{pool("a", "10.0.0.0", 1)}, map[string]string{"a": "InvalidSpec spec.cidr"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conditions := Judge(test.pools)
			for pool, want := range test.want {
				reason, message, _ := strings.Cut(want, " ")
				got := conditions[pool]
				if got.Reason != reason || !strings.Contains(got.Message, message) ||
					(got.Status == metav1.ConditionTrue) != (reason == ReasonOK) {
					t.Errorf("pool %s: %s %s %q, want %s", pool, got.Status, got.Reason, got.Message, want)
				}
			}
		})
	}
}

func TestValid(t *testing.T) {
	p := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16", IPIPMode: "Always", VXLANMode: "Always"}}
	if !setValid(p) || setValid(p) {
		t.Error("the condition is not written once")
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, "Valid"); c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "spec.vxlanMode") {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	p.Spec.IPIPMode = "Never"
	if !setValid(p) || len(p.Status.Conditions) > 0 {
		t.Errorf("after a correction: %+v", p.Status.Conditions)
	}
}
