package daemon

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/kube-controllers/effects"
	"github.com/maneki-net/maneki/kube-controllers/status"
)

// trimPod keeps of a pod what the controllers read: a large cluster has many of them.
func trimPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	trimmed := &corev1.Pod{
		ObjectMeta: trimMeta(pod.ObjectMeta),
		Spec:       corev1.PodSpec{NodeName: pod.Spec.NodeName},
		Status:     corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs},
	}
	if hash, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		trimmed.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: hash}
	}
	effects.Keep("Pod", pod, trimmed)
	return trimmed, nil
}

// trimNode keeps a node's name and labels, its addresses and the annotations with addresses, our own condition, and the
// state that shows whether its kubelet reports.
func trimNode(obj any) (any, error) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	trimmed := &corev1.Node{ObjectMeta: trimMeta(node.ObjectMeta),
		Status: corev1.NodeStatus{Addresses: node.Status.Addresses}}
	trimmed.Labels = node.Labels
	if condition := status.Condition(node); condition != nil {
		trimmed.Status.Conditions = []corev1.NodeCondition{*condition}
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			trimmed.Status.Conditions = append(trimmed.Status.Conditions,
				corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeOutOfService {
			trimmed.Spec.Taints = append(trimmed.Spec.Taints, taint)
		}
	}
	for key, value := range node.Annotations {
		if strings.HasPrefix(key, v3.GroupVersion.Group+"/") {
			metav1.SetMetaDataAnnotation(&trimmed.ObjectMeta, key, value)
		}
	}
	effects.Keep("Node", node, trimmed)
	return trimmed, nil
}

// trimMetadata keeps of the metadata of a Namespace or Service what has no effect.
func trimMetadata(obj any) (any, error) {
	object, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	trimmed := &metav1.PartialObjectMetadata{TypeMeta: object.TypeMeta, ObjectMeta: trimMeta(object.ObjectMeta)}
	effects.Keep(object.Kind, object, trimmed)
	return trimmed, nil
}

func trimMeta(meta metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID,
		ResourceVersion: meta.ResourceVersion}
}
