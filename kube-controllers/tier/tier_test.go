package tier

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
)

func TestReconcile(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pass := v3.Pass
	changed := &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v3.TierSpec{DefaultAction: &pass}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v3.Tier{}).WithObjects(changed).Build()
	look := func() map[string]v3.Tier {
		t.Helper()
		if _, err := New(c, slog.New(slog.DiscardHandler)).Reconcile(t.Context(), reconcile.Request{}); err != nil {
			t.Fatal(err)
		}
		var list v3.TierList
		if err := c.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		tiers := map[string]v3.Tier{}
		for _, item := range list.Items {
			tiers[item.Name] = item
		}
		return tiers
	}
	look()
	tiers := look() // the new ones are told of
	for name, want := range map[string]struct {
		order  float64
		action v3.Action
	}{"kube-admin": {1000, v3.Pass}, "kube-baseline": {10_000_000, v3.Pass}} {
		got := tiers[name]
		if got.Spec.Order == nil || *got.Spec.Order != want.order || *got.Spec.DefaultAction != want.action ||
			!meta.IsStatusConditionTrue(got.Status.Conditions, "Ready") {
			t.Errorf("tier %s is %+v", name, got)
		}
	}
	got := tiers["default"]
	ready := meta.FindStatusCondition(got.Status.Conditions, "Ready")
	if got.Spec.Order != nil || *got.Spec.DefaultAction != v3.Pass || ready == nil ||
		ready.Status != metav1.ConditionFalse ||
		ready.Reason != ReasonInvalid || !strings.Contains(ready.Message, "spec.order") {
		t.Errorf("a tier that was there is now %+v", got)
	}
	gone := tiers["kube-admin"]
	if err := c.Delete(t.Context(), &gone); err != nil {
		t.Fatal(err)
	}
	before := tiers["default"].ResourceVersion
	tiers = look()
	if _, back := tiers["kube-admin"]; !back || tiers["default"].ResourceVersion != before {
		t.Errorf("after a deletion: %+v", tiers)
	}
}

func TestJudge(t *testing.T) {
	going := &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: "ops", DeletionTimestamp: &metav1.Time{Time: time.Now()},
		Generation: 7}}
	if got := Judge(going); got.Status != metav1.ConditionFalse || got.Reason != ReasonTerminating ||
		got.ObservedGeneration != 7 {
		t.Errorf("a tier that is being deleted: %+v", got)
	}
}
