package uninstall

import (
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// TestReleasePools: pools stay without the finalizer, one that is being deleted goes, and finalizers of others stay.
func TestReleasePools(t *testing.T) {
	const ours, theirs = "projectcalico.org/ippool-finalizer", "example.org/theirs"
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pool := func(name string, finalizers ...string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: finalizers}}
	}
	going := pool("going", ours)
	going.DeletionTimestamp = &metav1.Time{Time: metav1.Now().Time}
	c := fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(pool("kept", ours), pool("shared", theirs, ours), pool("plain"), going).Build()
	if err := ReleasePools(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"kept": nil, "shared": {theirs}, "plain": nil} {
		got := &v3.IPPool{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, got); err != nil ||
			!slices.Equal(got.Finalizers, want) {
			t.Errorf("%s: finalizers %q, %v, want %q", name, got.Finalizers, err, want)
		}
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "going"}, &v3.IPPool{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pool that is being deleted: %v", err)
	}
}
