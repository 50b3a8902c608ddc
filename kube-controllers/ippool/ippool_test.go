package ippool

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestConditions(t *testing.T) {
	pool := func(name string, minute int) v3.IPPool {
		created := time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)
		return v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(created),
			Generation: int64(minute)},
			Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}}
	}
	conditions := Judge([]v3.IPPool{pool("a", 2), pool("b", 1)})
	for name, want := range map[string]metav1.Condition{
		"a": {Type: "Allocatable", Status: metav1.ConditionFalse, Reason: "CIDROverlap", ObservedGeneration: 2,
			Message: "10.0.0.0/16 overlaps 10.0.0.0/16 of IPPool b, which is older"},
		"b": {Type: "Allocatable", Status: metav1.ConditionTrue, Reason: "OK", ObservedGeneration: 1,
			Message: "addresses are assigned from the pool"},
	} {
		if got := conditions[name]; got != want {
			t.Errorf("pool %s: %+v, want %+v", name, got, want)
		}
	}
}

func TestValid(t *testing.T) {
	p := &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16", IPIPMode: "Always", VXLANMode: "Always"}}
	if !setValid(p) || setValid(p) {
		t.Error("the condition is not written once")
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, "Valid"); c == nil || c.Status != metav1.ConditionFalse ||
		!strings.Contains(c.Message, "spec.vxlanMode") {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	p.Spec.IPIPMode = "Never"
	if !setValid(p) || len(p.Status.Conditions) > 0 {
		t.Errorf("after a correction: %+v", p.Status.Conditions)
	}
}
