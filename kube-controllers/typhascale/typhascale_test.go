package typhascale

import (
	"fmt"
	"log/slog"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestReplicas(t *testing.T) {
	for nodes, want := range map[int]int32{0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 199: 3, 399: 3, 400: 4, 1000: 7,
		2000: 12, 3600: 20} {
		if got := Replicas(nodes); got != want {
			t.Errorf("%d nodes have %d replicas, want %d", nodes, got, want)
		}
	}
}

func node(name, os string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": os}}}
}

// TestFollowsTheNodes counts those of the system that Felix runs on, and leaves another Deployment alone.
func TestFollowsTheNodes(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: "ns", Name: "calico-typha"}
	c := fake.NewClientBuilder().WithScheme(scheme).Build()
	controller := New(c, key, slog.New(slog.DiscardHandler))
	look := func(want int32) {
		t.Helper()
		result, err := controller.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		if err != nil || result.RequeueAfter == 0 {
			t.Errorf("reconcile: %+v, %v", result, err)
		}
		for name, want := range map[string]int32{"calico-typha": want, "other": 9} {
			d := &appsv1.Deployment{}
			if err := c.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: name}, d); err != nil {
				t.Fatal(err)
			}
			if *d.Spec.Replicas != want {
				t.Errorf("Deployment %s has %d replicas, want %d", name, *d.Spec.Replicas, want)
			}
		}
	}
	if result, err := controller.Reconcile(t.Context(), reconcile.Request{}); err != nil || result.RequeueAfter == 0 {
		t.Errorf("without the Deployment: %+v, %v", result, err)
	}
	for _, name := range []string{"calico-typha", "other"} {
		replicas := int32(9)
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
			Spec: appsv1.DeploymentSpec{Replicas: &replicas}}
		if err := c.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	look(1)
	for i := range 3 {
		if err := c.Create(t.Context(), node(fmt.Sprint("n", i), "linux")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		if err := c.Create(t.Context(), node(fmt.Sprint("w", i), "windows")); err != nil {
			t.Fatal(err)
		}
	}
	look(2)
	if err := c.Delete(t.Context(), node("n0", "linux")); err != nil {
		t.Fatal(err)
	}
	look(1)
}
