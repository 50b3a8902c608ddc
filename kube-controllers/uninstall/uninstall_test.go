package uninstall

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

var key = client.ObjectKey{Namespace: "ns", Name: "maneki-cleanup"}

func daemonSet(observed int64, desired, ready int32) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Generation: 1},
		Status: appsv1.DaemonSetStatus{ObservedGeneration: observed, DesiredNumberScheduled: desired,
			NumberReady: ready},
	}
}

func pod(name, node string, ready corev1.ConditionStatus) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name,
		Labels: map[string]string{"k8s-app": key.Name}}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	// As the DaemonSet controller makes them: bound to the node by affinity, not by name.
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn,
					Values: []string{node}}}}}}}}
	return p
}

func TestAwaitReturnsWhenEveryNodeIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientBuilder().WithStatusSubresource(&appsv1.DaemonSet{}).WithObjects(daemonSet(0, 0, 0)).Build()
		ended := make(chan error, 1)
		go func() { ended <- AwaitDaemonSet(t.Context(), c, key) }()
		for _, status := range []*appsv1.DaemonSet{daemonSet(0, 0, 0), daemonSet(1, 3, 2), daemonSet(1, 3, 3)} {
			synctest.Wait()
			time.Sleep(2 * interval) // of the bubble
			select {
			case err := <-ended:
				t.Fatalf("returned %v before the nodes are clean", err)
			default:
			}
			var current appsv1.DaemonSet
			if err := c.Get(t.Context(), key, &current); err != nil {
				t.Fatal(err)
			}
			current.Status = status.Status
			if err := c.Status().Update(t.Context(), &current); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAwaitNamesTheNodesThatAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientBuilder().WithObjects(daemonSet(1, 3, 1),
			pod("a", "n1", corev1.ConditionTrue), pod("b", "n2", corev1.ConditionFalse),
			pod("c", "n3", corev1.ConditionFalse)).Build()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := AwaitDaemonSet(ctx, c, key)
		if err == nil || !strings.Contains(err.Error(), "nodes: n2, n3") {
			t.Errorf("got %v, want an error that names n2 and n3", err)
		}
	})
}

func TestAwaitSaysThatThereIsNoDaemonSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := AwaitDaemonSet(ctx, fake.NewClientBuilder().Build(), key)
		if err == nil || !strings.Contains(err.Error(), "not found") {
			t.Errorf("got %v", err)
		}
	})
}
