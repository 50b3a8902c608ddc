package sync

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/typha/wire"
)

// trim returns what of an object the calculation reads. The object itself may be shared with others and
// is not changed.
func trim(o datastore.Object) metav1.Object {
	switch o := o.(type) {
	case *corev1.Pod:
		return trimPod(o)
	case *corev1.Node:
		return &corev1.Node{
			ObjectMeta: trimMeta(o.ObjectMeta, ofNode),
			Status:     corev1.NodeStatus{Addresses: o.Status.Addresses},
		}
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: trimMeta(o.ObjectMeta, wire.HonouredOfNamespace)}
	case *corev1.ServiceAccount:
		return &corev1.ServiceAccount{ObjectMeta: trimMeta(o.ObjectMeta, nil)}
	case *discoveryv1.EndpointSlice:
		return trimSlice(o)
	case *v3.CalicoNodeStatus: // whose status is long, and changes all the time
		return &v3.CalicoNodeStatus{ObjectMeta: trimMeta(o.ObjectMeta, nil), Spec: o.Spec,
			Status: v3.CalicoNodeStatusStatus{LastUpdated: o.Status.LastUpdated}}
	}
	return o
}

func trimSlice(o *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: trimMeta(o.ObjectMeta, nil), AddressType: o.AddressType, Ports: o.Ports}
	slice.Labels = nil
	if name, ok := o.Labels[discoveryv1.LabelServiceName]; ok {
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	}
	for _, e := range o.Endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: e.Addresses})
	}
	return slice
}

// maxAnnotation is how many octets of an annotation's value are kept. Annotations that are read have addresses and
// short lists of names. The node reports that a longer list can't be read.
const maxAnnotation = 4 << 10

// trimMeta removes the annotations, which have up to 256 KiB, except those for whose names keep returns true. A nil
// keep removes all.
func trimMeta(m metav1.ObjectMeta, keep func(name string) bool) metav1.ObjectMeta {
	trimmed := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Labels:            m.Labels,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
	for name, value := range m.Annotations {
		if keep == nil || !keep(name) {
			continue
		}
		if len(value) > maxAnnotation {
			value = strings.Clone(value[:maxAnnotation]) // a slice of the string would keep all of it in memory
		}
		metav1.SetMetaDataAnnotation(&trimmed, name, value)
	}
	return trimmed
}

func ofNode(name string) bool { return strings.HasPrefix(name, v3.GroupVersion.Group+"/") }

// ofPod also keeps the UID by which the kubelet knows a static pod, and what it may send from.
func ofPod(name string) bool {
	return wire.HonouredAnnotation(name) || name == wire.AnnotationSources || name == corev1.MirrorPodAnnotationKey
}

func trimPod(o *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: trimMeta(o.ObjectMeta, ofPod),
		Spec: corev1.PodSpec{
			NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork, ServiceAccountName: o.Spec.ServiceAccountName,
			Containers: trimContainers(o.Spec.Containers), InitContainers: trimContainers(o.Spec.InitContainers),
		},
		Status: corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs},
	}
}

// trimContainers keeps the ports; a pod without any keeps no container.
func trimContainers(containers []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for _, c := range containers {
		if len(c.Ports) > 0 {
			kept = append(kept, corev1.Container{Name: c.Name, Ports: c.Ports, RestartPolicy: c.RestartPolicy})
		}
	}
	return kept
}
