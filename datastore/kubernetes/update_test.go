package kubernetes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDifference(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n", Labels: map[string]string{"a": "1"}, Annotations: map[string]string{"gone": "1", "same": "1"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
		},
		Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: "t"}}},
		Status: corev1.NodeStatus{Phase: corev1.NodeRunning},
	}
	tests := []struct {
		name, subresource string
		change            func(*corev1.Node)
		want              map[string]any
	}{
		{"nothing", "", func(*corev1.Node) {}, map[string]any{}},
		{"managed fields left out", "", func(n *corev1.Node) { n.ManagedFields = nil }, map[string]any{}},
		{"status is apart", "", func(n *corev1.Node) { n.Status = corev1.NodeStatus{} }, map[string]any{}},
		{"annotations", "", func(n *corev1.Node) {
			delete(n.Annotations, "gone")
			n.Annotations["new"] = "1"
		}, map[string]any{"metadata": map[string]any{"annotations": map[string]any{"gone": nil, "new": "1"}}}},
		{"all labels", "", func(n *corev1.Node) { n.Labels = nil },
			map[string]any{"metadata": map[string]any{"labels": nil}}},
		{"a list as a whole", "", func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints,
				corev1.Taint{Key: "u"})
		},
			map[string]any{"spec": map[string]any{"taints": []any{map[string]any{"key": "t", "effect": ""},
				map[string]any{"key": "u", "effect": ""}}}}},
		{"status alone", "status", func(n *corev1.Node) {
			n.Status.Phase = corev1.NodePending
			n.Labels = nil
		}, map[string]any{"status": map[string]any{"phase": "Pending"}}},
	}
	for _, tt := range tests {
		changed := node.DeepCopy()
		tt.change(changed)
		got, err := difference(node, changed, tt.subresource)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
