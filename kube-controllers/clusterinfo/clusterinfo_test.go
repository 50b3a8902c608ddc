package clusterinfo

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// TestCompletes: what an administrator or an earlier version wrote stays, but the version.
func TestCompletes(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	no := false
	info := &v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v3.ClusterInformationSpec{
		ClusterGUID: "0123", CalicoVersion: "v1", DatastoreReady: &no}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(info).Build()
	for range 2 {
		request := reconcile.Request{NamespacedName: types.NamespacedName{Name: "default"}}
		if _, err := New(c, "v2", slog.New(slog.DiscardHandler)).Reconcile(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	got := &v3.ClusterInformation{}
	if err := c.Get(t.Context(), types.NamespacedName{Name: "default"}, got); err != nil {
		t.Fatal(err)
	}
	want := v3.ClusterInformationSpec{ClusterGUID: "0123", CalicoVersion: "v2", ClusterType: "k8s,kdd",
		DatastoreReady: &no}
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if got.ResourceVersion != "1000" { // the fake counts from 999
		t.Errorf("revision %s: the second look wrote again", got.ResourceVersion)
	}
}
