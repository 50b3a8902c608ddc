package defaults

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// TestReconcile: what the chart makes is waited for at the start; what is deleted later comes back at once, and what
// users wrote stays.
func TestReconcile(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	meta, level := metav1.ObjectMeta{Name: "default"}, "Debug"
	users := &v3.BGPConfiguration{ObjectMeta: meta, Spec: v3.BGPConfigurationSpec{LogSeverityScreen: level}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(users).Build()
	now := time.Unix(1000, 0)
	controller := New(c, time.Minute, slog.New(slog.DiscardHandler))
	controller.now = func() time.Time { return now }
	expect := func(when string, wait time.Duration, want ...string) {
		t.Helper()
		result, err := controller.Reconcile(t.Context(), reconcile.Request{})
		if err != nil || result.RequeueAfter != wait {
			t.Errorf("%s: %+v, %v, want another look after %s", when, result, err, wait)
		}
		if diff := cmp.Diff(strings.Join(want, " "), strings.Join(there(t, c), " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	remove := func(o client.Object) {
		t.Helper()
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	expect("at the start", time.Minute, "BGPConfiguration", "KubeControllersConfiguration")
	now = now.Add(40 * time.Second)
	expect("a moment later", 20*time.Second, "BGPConfiguration", "KubeControllersConfiguration")
	var bgp v3.BGPConfiguration
	if err := c.Get(t.Context(), client.ObjectKey{Name: "default"}, &bgp); err != nil ||
		bgp.Spec.LogSeverityScreen != level {
		t.Errorf("the user's BGPConfiguration is %+v, %v", bgp.Spec, err)
	}
	remove(users)
	expect("one was deleted", 20*time.Second, "BGPConfiguration", "KubeControllersConfiguration")
	now = now.Add(20 * time.Second)
	expect("after a minute", 0, "FelixConfiguration", "BGPConfiguration", "KubeControllersConfiguration")
	remove(&v3.FelixConfiguration{ObjectMeta: meta})
	remove(&v3.KubeControllersConfiguration{ObjectMeta: meta})
	expect("two were deleted", 0, "FelixConfiguration", "BGPConfiguration", "KubeControllersConfiguration")
}

func there(t *testing.T, c client.Client) (kinds []string) {
	t.Helper()
	for _, r := range resources {
		err := c.Get(t.Context(), client.ObjectKey{Name: "default"}, r.make())
		if err == nil {
			kinds = append(kinds, r.kind)
		} else if client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	return kinds
}
